/** What a run has measured so far: a file of JSON lines that grows by one at a time. */

/** The lines of a store, none where there is none yet; a last one that was cut off by a kill is taken away, and measured again. */
export async function readStored<T>(path: string): Promise<T[]> {
  let text = "";
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const complete = text.slice(0, text.lastIndexOf("\n") + 1);
  if (complete !== text) await Deno.writeTextFile(path, complete);
  return complete.split("\n").filter(Boolean).map((line) => JSON.parse(line) as T);
}

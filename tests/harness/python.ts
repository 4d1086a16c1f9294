/** Python as an oracle, and as what code answers run on: tests that need it are skipped, and say so, where it is missing. */

/** Path of a Python 3, or undefined. */
export const python: string | undefined = ["/usr/bin/python3", "python3"].find((path) => {
  try {
    return new Deno.Command(path, { args: ["-c", "pass"], stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
});

/** What a Python program prints, as JSON. */
export function pythonPrints(program: string): unknown {
  const { success, stdout, stderr } = new Deno.Command(python!, { args: ["-c", program] }).outputSync();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

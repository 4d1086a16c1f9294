/** Lines of a stream of bytes, and the text of a line of JSON. */

/** Characters of one line beyond which a file is taken for something else than lines. */
const longestLine = 2 ** 26;

/**
 * The lines of UTF-8 text, without their "\n", in batches: what each chunk completes. A byte order mark is left out and bytes that are no UTF-8 become
 * U+FFFD. Throws `SyntaxError` for a line of more than 2^26 characters, so that a file of another kind never fills the memory.
 */
export async function* textLines(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<string[]> {
  const decoder = new TextDecoder();
  let rest = "";
  let line = 1;
  for await (const chunk of chunks) {
    const lines = decoder.decode(chunk, { stream: true }).split("\n"); // the chunk alone: a long line is not searched again
    lines[0] = rest + lines[0];
    rest = lines.pop()!;
    if (lines.length > 0) yield lines;
    line += lines.length;
    if (rest.length > longestLine) {
      throw new SyntaxError(
        `Cannot read ${name}, line ${line}: it is longer than ${longestLine} characters; wanted one document per line`,
      );
    }
  }
  yield [rest + decoder.decode()];
}

/** The field "text" of a line of JSON. Throws `SyntaxError` that names the file and the line. */
export function textOfJson(json: string, name: string, line: number): string {
  let value: unknown;
  try {
    value = (JSON.parse(json) as { text?: unknown }).text;
  } catch {
    // Reported below, with the line.
  }
  if (typeof value === "string") return value;
  throw new SyntaxError(`Cannot read ${name}, line ${line}: wanted a JSON object with a string "text"`);
}

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

/** A piece of a document: text that is given, or an answer to it. */
export interface Piece {
  readonly text: string;
  readonly answer: boolean;
}

/** A document: plain text, or pieces of which some are answers. */
export type Document = string | readonly Piece[];

/**
 * The document of a line of JSON: its field "text"; "prompt" and "response", of which the latter is an answer; or "messages", each with "role" and "content",
 * of which those of the assistant are. Pieces end with a new line. Throws `SyntaxError` that names the file and the line.
 */
export function documentOfJson(json: string, name: string, line: number): Document {
  let value: Record<string, unknown> = {};
  try {
    value = (JSON.parse(json) ?? {}) as Record<string, unknown>;
  } catch {
    // Reported below, with the line.
  }
  const { text, prompt, response, messages } = value;
  if (typeof text === "string") return text;
  if (typeof prompt === "string" && typeof response === "string") {
    return [{ text: `${prompt}\n`, answer: false }, { text: `${response}\n`, answer: true }];
  }
  if (Array.isArray(messages) && messages.length > 0 && messages.every(isMessage)) {
    return messages.map(({ role, content }) => ({ text: `${content}\n`, answer: role === "assistant" }));
  }
  throw new SyntaxError(
    `Cannot read ${name}, line ${line}: wanted a JSON object with a string "text", with "prompt" and "response", or with ` +
      '"messages" that have a "role" and a "content" each',
  );
}

/** Characters of a document. */
export function lengthOf(document: Document): number {
  return typeof document === "string" ? document.length : document.reduce((sum, { text }) => sum + text.length, 0);
}

function isMessage(message: unknown): message is { readonly role: string; readonly content: string } {
  const { role, content } = (message ?? {}) as Record<string, unknown>;
  return typeof role === "string" && typeof content === "string";
}

/** Lines of a stream of bytes, and the text of a line of JSON. */

/** Characters of one line beyond which a file is taken for something else than lines. */
const longestLine = 2 ** 26;

/**
 * The lines of UTF-8 text, without their "\n" or "\r\n", in batches: what each chunk completes. A byte order mark is left out. Throws `SyntaxError` that
 * names the line for bytes that are no UTF-8 and for UTF-16, and for a line of more than 2^26 characters, so that a file of another kind never fills the
 * memory.
 */
export async function* textLines(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<string[]> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = "", line = 1, first = true;
  const fail = (what: string): never => {
    throw new SyntaxError(`Cannot read ${name}, line ${line}: ${what}`);
  };
  const decode = (chunk?: Uint8Array): string => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined });
    } catch {
      return fail("it holds bytes that are no UTF-8; save the file as UTF-8");
    }
  };
  const plain = (text: string): string => {
    if (text.includes("\0")) fail("it holds zero bytes: this is UTF-16, or no text; save the file as UTF-8");
    return text.endsWith("\r") ? text.slice(0, -1) : text;
  };
  for await (const chunk of chunks) {
    if (first && chunk.length >= 2 && isMark(chunk)) {
      fail("the file is UTF-16; save it as UTF-8");
    }
    first &&= chunk.length === 0;
    const lines = decode(chunk).split("\n"); // the chunk alone: a long line is not searched again
    lines[0] = rest + lines[0];
    rest = lines.pop()!;
    if (lines.length > 0) yield lines.map(plain);
    line += lines.length;
    if (rest.length > longestLine) fail(`it is longer than ${longestLine} characters; wanted one document per line`);
  }
  yield [plain(rest + decode())];
}

/** The byte order marks of UTF-16. */
const isMark = ([a, b]: Uint8Array): boolean => (a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff);

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
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    // Reported below, with the line.
  }
  return documentOf(typeof value === "string" ? undefined : value, `${name}, line ${line}`);
}

/** The document of a JSON value that stands at `place`: as in a line, or a string by itself. */
export function documentOf(value: unknown, place: string): Document {
  if (typeof value === "string") return value;
  const { text, prompt, response, messages } = (value ?? {}) as Record<string, unknown>;
  if (typeof text === "string") return text;
  if (typeof prompt === "string" && typeof response === "string") {
    return [{ text: `${prompt}\n`, answer: false }, { text: `${response}\n`, answer: true }];
  }
  if (Array.isArray(messages) && messages.length > 0 && messages.every(isMessage)) {
    return messages.map(({ role, content }) => ({ text: `${content}\n`, answer: role === "assistant" }));
  }
  throw new SyntaxError(
    `Cannot read ${place}: wanted a JSON object with a string "text", with "prompt" and "response", or with ` +
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

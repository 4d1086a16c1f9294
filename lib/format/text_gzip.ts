/** Gzip as a stream. */
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";

/**
 * The bytes behind gzip, in chunks of at most 1 MiB. A file of several members (what `cat a.gz b.gz` gives) is read to its end, which
 * `DecompressionStream` refuses. Throws `SyntaxError` for bytes that are not gzip, are damaged or end early; errors of `chunks` pass through.
 */
export async function* gunzip(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  let failure: unknown;
  const source = async function* () {
    try {
      yield* chunks;
    } catch (error) {
      failure = error;
      throw error;
    }
  };
  const inflate = createGunzip({ chunkSize: 2 ** 20 });
  pipeline(Readable.from(source()), inflate, () => {}); // an error ends the loop below
  try {
    for await (const chunk of inflate) yield chunk as Uint8Array;
  } catch (error) {
    if (failure !== undefined) throw failure;
    const reason = error instanceof Error ? error.message : String(error);
    throw new SyntaxError(`Cannot read ${name}: its gzip data is damaged or cut short (${reason}); fetch it again`);
  }
}

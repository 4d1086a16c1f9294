/** The matrices outside the blocks, embedding and head: half of a 2-bit LLaDA, unless they are quantised too. */
import type { Method, QuantizedLinear } from "../quant/method.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { matrix } from "../tensor/matrix.ts";
import type { Model } from "../model/model.ts";

/**
 * Quantises embedding and head with the methods that `except` gave. Throws `RangeError` for a method that needs data, and for a head that is the
 * embedding.
 */
export async function quantizeOutside(
  model: Model,
  method: Method,
  { kernels, signal }: { readonly kernels: Kernels; readonly signal?: AbortSignal },
): Promise<QuantizedLinear[]> {
  const { family: { names }, architecture: { vocabSize, width, tiedHead }, weights } = model;
  const made: QuantizedLinear[] = [];
  for (const part of ["embed", "head"] as const) {
    const own = method.outside?.[part];
    if (!own) continue;
    signal?.throwIfAborted();
    if (own.needsHessian) {
      throw new RangeError(`Cannot quantize the ${part} with ${own.name}: it needs data, wanted rtn`);
    }
    if (part === "head" && tiedHead) {
      throw new RangeError(`Cannot quantize the head of ${model.name}: it is the embedding; quantise that`);
    }
    const data = new Float32Array(vocabSize * width);
    let at = 0;
    for await (const rows of weights.rows(part)) {
      data.set(rows, at);
      at += rows.length;
    }
    made.push(await own.quantize({ name: names[part], W: matrix(vocabSize, width, data), kernels, signal }));
  }
  return made;
}

/** The matrices outside the blocks, embedding and head: half of a 2-bit LLaDA, unless they are quantised too. */
import type { Method } from "../quant/method.ts";
import { dequantize, storedBits } from "../quant/forms/decode.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { type Matrix, matrix } from "../tensor/matrix.ts";
import type { Model } from "../model/model.ts";
import type { Finished } from "./store.ts";

export const outsideParts = ["embed", "head"] as const;

/**
 * Quantises the embedding or the head with the method that `except` gave it; `relativeError` is ‖W - Q‖² / ‖W‖². Throws `RangeError` for a method that
 * needs data, and for a head that is the embedding.
 */
export async function quantizeOutside(
  model: Model,
  method: Method,
  { part, kernels, signal }: {
    readonly part: typeof outsideParts[number];
    readonly kernels: Kernels;
    readonly signal?: AbortSignal;
  },
): Promise<Finished & { readonly W: Matrix }> {
  const { family: { names }, architecture: { vocabSize, width, tiedHead }, weights } = model;
  if (method.needsHessian) {
    throw new RangeError(`Cannot quantize the ${part} with ${method.name}: it needs data, wanted rtn`);
  }
  if (part === "head" && tiedHead) {
    throw new RangeError(`Cannot quantize the head of ${model.name}: it is the embedding; quantise that`);
  }
  const W = matrix(vocabSize, width);
  let at = 0;
  for await (const rows of weights.rows(part)) {
    W.data.set(rows, at);
    at += rows.length;
  }
  const q = await method.quantize({ name: names[part], W, kernels, signal });
  const Q = dequantize(q).data;
  let error = 0, power = 0;
  for (let i = 0; i < Q.length; i++) {
    error += (W.data[i] - Q[i]) ** 2;
    power += W.data[i] ** 2;
  }
  const report = {
    name: q.name,
    layer: -1,
    linear: part,
    method: method.name,
    relativeError: error / power,
    report: q.report,
    bitsPerWeight: storedBits(q) / W.data.length,
  };
  return { q, report, W };
}

/** The matrices outside the blocks, embedding and head: half of a 2-bit LLaDA, unless they are quantised too. */
import type { Method } from "../quant/method.ts";
import { dequantize, storedBits } from "../quant/forms/decode.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { type Matrix, matrix } from "../tensor/matrix.ts";
import type { Model } from "../model/model.ts";
import type { Finished } from "./store.ts";

export const outsideParts = ["embed", "head"] as const;

/** Throws `RangeError` for an embedding or head that a method cannot quantise: what can be known before any work. */
export function checkOutside({ name, architecture: { tiedHead } }: Model, { outside = {} }: Method): void {
  for (const part of outsideParts) {
    const own = outside[part];
    if (own?.needsHessian) {
      throw new RangeError(`Cannot quantize the ${part} with ${own.name}: it needs data, wanted rtn`);
    }
    if (own && part === "head" && tiedHead) {
      throw new RangeError(
        `Cannot quantize the head of ${name}: it is the embedding; quantise that (--embed-bits), or leave it out (--head-bits 16)`,
      );
    }
  }
}

/** Throws `RangeError` that names the first tensor outside the blocks with a number that is not finite: it would be found when all is done. */
export async function checkOutsideNumbers({ name, architecture, family: { names }, weights }: Model): Promise<void> {
  const fail = (tensor: string, at: number, x: number): never => {
    throw new RangeError(
      `Cannot quantize ${name}: number ${at} of "${tensor}" is ${x}; fetch the checkpoint again, or mend that tensor`,
    );
  };
  const check = (tensor: string, data: Float32Array, from: number) => {
    for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) fail(tensor, from + i, data[i]);
    return from + data.length;
  };
  for (const part of architecture.tiedHead ? ["embed"] as const : outsideParts) {
    let at = 0;
    for await (const rows of weights.rows(part)) at = check(names[part], rows, at);
  }
  check(names.finalNorm, await weights.finalNorm(), 0);
}

/**
 * Quantises the embedding or the head with the method that `except` gave it; `relativeError` is ‖W - Q‖² / ‖W‖². See
 * `checkOutside`.
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
  const { family: { names }, architecture: { vocabSize, width }, weights } = model;
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

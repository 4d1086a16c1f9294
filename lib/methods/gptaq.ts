/**
 * GPTAQ (arXiv 2504.02692): GPTQ whose target is the output of the full-precision layer on the full-precision inputs, so that errors of earlier layers are
 * made up for. Deviations from the released code, each with its option: the update of later column blocks takes the weights as they stood before rounding, so
 * that the result does not depend on the block size (`legacyCrossBlock` takes the rounded ones, as released); grids are asymmetric without a search for
 * clipping unless told otherwise. α = 0.25 stands in the code, the paper has none (1).
 */
import { asymmetricTerm } from "../quant/asymmetric.ts";
import type { LinearInput, Method } from "../quant/method.ts";
import { asMatrix, type Matrix, type Matrix64 } from "../tensor/matrix.ts";
import { gptq, type GptqOptions, permuteBoth, quantizeColumns } from "./gptq.ts";

export interface GptaqOptions extends GptqOptions {
  /** How much of the drift of the inputs is made up for, 0 (GPTQ) to 1 (the paper's formula). */
  readonly alpha?: number;
  /** Pass rounded weights on to later column blocks, as the released code does. */
  readonly legacyCrossBlock?: boolean;
}

/**
 * A method that minimises ‖Q X - W X̃‖² greedily over the columns of W `[out, in]`, X̃ being the inputs in full precision and X those behind quantised
 * layers. Reads H and D; needs both streams of the calibration.
 *
 * @throws RangeError for options out of range; `quantize` throws as `gptq`, and TypeError without D.
 *
 * @example
 * ```ts
 * import { gptaq, loadCorpus, loadModel, quantize, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const quantized = await quantize(model, gptaq({ bits: 2, group: 128 }), { calibration });
 * ```
 */
export function gptaq(options: GptaqOptions): Method {
  const { alpha = 0.25, legacyCrossBlock = false, ...own } = options;
  if (!(alpha >= 0 && alpha <= 1)) {
    throw new RangeError(`Cannot make gptaq: alpha is ${alpha}, wanted a number from 0 to 1`);
  }
  const base = gptq(own);
  const parts = [alpha !== 0.25 && `alpha${alpha}`, legacyCrossBlock && "legacycross"].filter(Boolean);
  return {
    ...base,
    name: [base.name.replace("gptq", "gptaq"), ...parts].join("-"),
    wants: { drift: true },
    quantize: (linear) =>
      quantizeColumns(linear, own, async (U, { order, alive, kernels }) => {
        const D = liveDrift(linear, alive);
        const P = await asymmetricTerm(order ? permuteBoth(D, order) : D, U, { alpha, kernels });
        return { P, legacyCrossBlock };
      }),
  };
}

/** D without the columns of dead inputs, whose H_jj was zero. Throws `TypeError` when it is missing or does not fit. */
function liveDrift({ name, D, H }: LinearInput, alive: Matrix | Matrix64): Matrix {
  const n = alive.cols;
  if (D === undefined) {
    throw new TypeError(`Cannot quantize "${name}": gptaq wants D, the drift of the inputs from full precision`);
  }
  const drift = asMatrix(D, `D of "${name}"`);
  if (drift.rows !== n || drift.cols !== n) {
    throw new TypeError(`Cannot quantize "${name}": D is ${drift.rows} x ${drift.cols}, wanted ${n} x ${n}`);
  }
  const dead = Array.from({ length: n }, (_, j) => j).filter((j) => H!.data[j * n + j] === 0);
  if (dead.length === 0) return drift;
  const out = { ...drift, data: drift.data.slice() };
  for (let i = 0; i < n; i++) for (const j of dead) out.data[i * n + j] = 0;
  return out;
}

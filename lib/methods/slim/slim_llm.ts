/**
 * SliM-LLM (arXiv 2405.14917): GPTQ whose groups of columns take N - 1, N or N + 1 bits by their salience (SBA), on grids whose range is searched by rows
 * and groups (SQC). Deviations: N for all groups is a candidate too (`uniform: false` leaves it out, as released; the released search then knows none for
 * fewer than four groups, where N for all is what remains); columns without a salient weight do not stop the search. The softmax of the search runs over the
 * output channels, as released.
 */
import { newFactors } from "../../quant/factor.ts";
import { aliveInputs, readHessian, readWeight } from "../../quant/linear.ts";
import type { LinearInput, Method, QuantizedLinear } from "../../quant/method.ts";
import { type ColumnBlockQuantizer, obs } from "../../quant/obs.ts";
import { type MixedGroup, storeMixed } from "../../quant/forms/mixed.ts";
import { NumericalError } from "../../tensor/errors.ts";
import { type Kernels, referenceKernels } from "../../tensor/kernels.ts";
import { asMatrix, type Matrix, matrix, type Matrix64 } from "../../tensor/matrix.ts";
import { checkPositive } from "../options.ts";
import { roundToNearest } from "../rtn.ts";
import { divergence, sharesOf } from "./divergence.ts";
import { plainRows, slimRows } from "./grids.ts";

export interface SlimLlmOptions {
  /** N, the mean of the bits: 2 or 3. */
  readonly bits: number;
  /** Columns of a group, and of a column block. */
  readonly group: number;
  /** Added to the diagonal of H as a fraction of its mean. */
  readonly damping?: number;
  /** Weight of the error of salient weights in the search of a range, λ. */
  readonly salient?: number;
  /** Whether N bits for every group is a candidate. */
  readonly uniform?: boolean;
  /** Fix zero points at the middle until the first group that does not lose a bit, as the released code does by a flag that it clears late. */
  readonly legacyZero?: boolean;
  /** One bit as the mean distance from the mean, not from zero. */
  readonly fixedOneBit?: boolean;
}

/** Tokens on which allocations are compared. */
const TOKENS = 2048;

/**
 * A method at a mean of exactly `bits` bits per code. Reads H and a sample of the inputs. When no damping makes H positive definite the layer is rounded to
 * nearest at N bits, and `report.fallback` says so.
 *
 * @throws RangeError for options out of range; `quantize` throws TypeError without H or inputs and RangeError for weights that are not finite.
 *
 * @example
 * ```ts
 * import { loadCorpus, loadModel, quantize, slimLlm, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const quantized = await quantize(model, slimLlm({ bits: 2, group: 32 }), { calibration });
 * ```
 */
export function slimLlm(options: SlimLlmOptions): Method {
  const { bits, group, damping = 0.01, salient = 1, uniform = true } = options;
  const { legacyZero = false, fixedOneBit = false } = options;
  if (bits !== 2 && bits !== 3) throw new RangeError(`Cannot make slim-llm: bits is ${bits}, wanted 2 or 3`);
  checkPositive("slim-llm", { group });
  for (const [what, value] of Object.entries({ damping, salient })) {
    if (!(value >= 0)) throw new RangeError(`Cannot make slim-llm: ${what} is ${value}, wanted a number of at least 0`);
  }
  const name = [
    `slim-llm-${bits}b-g${group}`,
    damping !== 0.01 && `damp${damping}`,
    salient !== 1 && `salient${salient}`,
    !uniform && "nouniform",
    legacyZero && "legacyzero",
    fixedOneBit && "fixed1",
  ].filter(Boolean).join("-");
  const full = { bits, group, damping, salient, uniform, legacyZero, fixedOneBit };
  return { name, needsHessian: true, wants: { inputs: TOKENS }, quantize: (linear) => quantize(linear, full) };
}

type Full = Required<SlimLlmOptions>;

async function quantize(linear: LinearInput, options: Full): Promise<QuantizedLinear> {
  const { kernels = referenceKernels, signal, factors = newFactors(), name } = linear;
  const original = readWeight(linear), { rows, cols } = original;
  const group = Math.min(options.group, cols), { bits, damping } = options;
  const alive = aliveInputs(original, readHessian(linear, cols));
  let factor;
  try {
    factor = await factors.of(alive.H, { damping, kernels, signal });
  } catch (error) {
    if (!(error instanceof NumericalError)) throw error;
    return roundToNearest(linear, { bits, group }, { fallback: "rtn", fallbackReason: error.message });
  }
  const { U } = factor;
  const widths = await allocate(linear, alive.W, U, { ...options, group, kernels });
  const groups: MixedGroup[] = [];
  const quantizer: ColumnBlockQuantizer = async ({ start, end, X, U }) => {
    const width = end - start, own = widths[groups.length];
    const middle = options.legacyZero && widths.slice(0, groups.length + 1).every((width) => width < bits);
    const args = {
      ...{ x: X.data, u: U.data, width, bits: own, salient: options.salient, fixedOneBit: options.fixedOneBit, middle },
      ...searched(X, U, options.salient),
      scales: new Float32Array(rows),
      zeros: new Uint8Array(rows),
      means: new Float32Array(rows),
      codes: new Uint8Array(rows * width),
      q: new Float32Array(rows * width),
      e: new Float32Array(rows * width),
    };
    await kernels.rows(slimRows, rows, args, { costPerRow: width * (width + 1000) });
    const { codes, scales, zeros, means } = args;
    groups.push({ start, width, bits: own, codes, scales, zeros, ...(own === 1 ? { means } : {}) });
    return { Q: matrix(rows, width, args.q), E: matrix(rows, width, args.e) };
  };
  const { loss } = await obs(alive.W, quantizer, { U, blockSize: group, kernels, signal });
  const report = { damping: factor.damping, dampingRetries: factor.retries, deadInputs: alive.dead, loss };
  return storeMixed(name, { rows, cols, group, groups }, { ...report, widths: widths.join(" ") });
}

/** Where |z| of the salience within the block is above 2, as the code has it; needed only where those weigh otherwise. */
function searched({ rows, cols, data }: Matrix, U: Matrix64, weight: number): { readonly marks?: Uint8Array } {
  if (weight === 1) return {};
  const salience = data.map((w, k) => w * w / U.data[(k % cols) * (cols + 1)] ** 2), count = rows * cols;
  const mean = salience.reduce((x, y) => x + y, 0) / count;
  const deviation = Math.sqrt(salience.reduce((sum, x) => sum + (x - mean) ** 2, 0) / Math.max(1, count - 1));
  return { marks: Uint8Array.from(salience, (x) => Number(Math.abs(x - mean) > 2 * deviation)) };
}

/** The bits of each group (SBA): as many of the most salient gain one as of the least salient lose one, by the divergence of what comes out. */
async function allocate(
  { name, X }: LinearInput,
  W: Matrix,
  U: Matrix64,
  { bits, group, uniform, fixedOneBit, kernels }: Full & { readonly kernels: Kernels },
): Promise<number[]> {
  const { rows, cols } = W, count = Math.ceil(cols / group);
  if (X === undefined) throw new TypeError(`Cannot quantize "${name}": slim-llm wants X, a sample of the inputs`);
  const inputs = asMatrix(X, `X of "${name}"`);
  const salience = new Float64Array(count);
  for (let k = 0; k < W.data.length; k++) {
    const j = k % cols;
    salience[Math.floor(j / group)] += W.data[k] ** 2 / U.data[j * (cols + 1)] ** 2; // δ = w² / U_jj²
  }
  // A narrower last group stays at N, so that the mean is exactly N.
  const order = Array.from({ length: Math.floor(cols / group) }, (_, g) => g).sort((a, b) => salience[a] - salience[b]);
  const withMoved = (moved: number) => {
    const widths = new Array<number>(count).fill(bits);
    for (let i = 0; i < moved; i++) {
      widths[order[i]] = bits - 1;
      widths[order[order.length - 1 - i]] = bits + 1;
    }
    return widths;
  };
  const last = Math.floor(order.length / 2) - 1, first = uniform || last < 1 ? 0 : 1;
  if (last < first) return withMoved(0);
  const wanted = await sharesOf(await kernels.gemm(inputs, W, { transB: true }), kernels);
  const rounded = matrix(rows, cols), outputs = matrix(inputs.rows, rows);
  let before: Uint8Array | undefined;
  let best = withMoved(first), least = Infinity;
  for (let moved = first; moved <= last; moved++) {
    const widths = withMoved(moved);
    const args = { w: W.data, cols, group, widths: Uint8Array.from(widths), before, fixedOneBit, out: rounded.data };
    await kernels.rows(plainRows, rows, args, { costPerRow: 10 * cols });
    before = args.widths;
    await kernels.gemm(inputs, rounded, { transB: true, out: outputs });
    const own = await divergence(outputs, wanted, kernels);
    if (own < least) [least, best] = [own, widths];
  }
  return best;
}

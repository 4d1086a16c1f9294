/**
 * SBVR (arXiv 2509.18172): a weight is the sum of some of the K coefficients of its group, which many groups share in a table. Deviations: the encoder is not
 * the released search over some 10^5 candidates whose result depends on the order of groups, but codes and least-squares coefficients by turns; the table is
 * the k-means of what groups want when they are free, and the linear is then quantised again on that table. As released, the error of a block is passed on by
 * the diagonal of U alone unless `compensation` says otherwise.
 */
import type { Compensation } from "../../quant/block_error.ts";
import { newFactors } from "../../quant/factor.ts";
import { storeSubsetSum } from "../../quant/dense/subset_sum.ts";
import { aliveInputs, readHessian, readWeight } from "../../quant/linear.ts";
import type { LinearInput, Method, QuantizedLinear } from "../../quant/method.ts";
import { type ColumnBlockQuantizer, obs } from "../../quant/obs.ts";
import { kMeans } from "../../tensor/k_means.ts";
import { referenceKernels } from "../../tensor/kernels.ts";
import { matrix } from "../../tensor/matrix.ts";
import { checkPositive } from "../options.ts";
import { freeRows, tableRows } from "./encode.ts";

export interface SbvrOptions {
  /** K: coefficients of a group, and bits of a code; 1 to 6. */
  readonly sums: number;
  /** Columns of a group; 128 by default. */
  readonly group?: number;
  /** Lines of the table at most; one for every eight groups by default, 256 at most. */
  readonly lines?: number;
  /** Added to the diagonal of H as a fraction of its mean. */
  readonly damping?: number;
  /** How the error of a block is passed on; "diagonal", as released. */
  readonly compensation?: Compensation;
  readonly seed?: number;
}

/** Lines of the table that are tried for a group. */
const TRIES = 8;

/**
 * A method of K bits per weight, a line number for each group, and its table. Reads H.
 *
 * @throws RangeError for options out of range; `quantize` throws TypeError without H, RangeError for weights that are not finite, and NumericalError when no
 * damping makes H positive definite.
 *
 * @example
 * ```ts
 * import { loadCorpus, loadModel, quantize, sbvr, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const quantized = await quantize(model, sbvr({ sums: 2 }), { calibration });
 * ```
 */
export function sbvr(options: SbvrOptions): Method {
  const { sums, group = 128, lines, damping = 0.01, compensation = "diagonal", seed = 1 } = options;
  if (!(Number.isInteger(sums) && sums >= 1 && sums <= 6)) {
    throw new RangeError(`Cannot make sbvr: sums is ${sums}, wanted an integer from 1 to 6`);
  }
  checkPositive("sbvr", { group, ...(lines === undefined ? {} : { lines }) });
  if (lines !== undefined && lines > 65536) {
    throw new RangeError(`Cannot make sbvr: lines is ${lines}, wanted at most 65536`);
  }
  if (!(damping >= 0)) throw new RangeError(`Cannot make sbvr: damping is ${damping}, wanted a number of at least 0`);
  const name = [
    `sbvr-${sums}b-g${group}`,
    lines !== undefined && `lines${lines}`,
    damping !== 0.01 && `damp${damping}`,
    compensation !== "diagonal" && compensation,
    seed !== 1 && `seed${seed}`,
  ].filter(Boolean).join("-");
  const full = { sums, group, lines, damping, compensation, seed };
  return { name, needsHessian: true, quantize: (linear) => quantize(linear, full) };
}

type Full = Required<Omit<SbvrOptions, "lines">> & Pick<SbvrOptions, "lines">;

async function quantize(linear: LinearInput, options: Full): Promise<QuantizedLinear> {
  const { kernels = referenceKernels, signal, factors = newFactors(), name } = linear;
  const original = readWeight(linear), { rows, cols } = original;
  const { sums, damping, compensation, seed } = options, group = Math.min(options.group, cols);
  const alive = aliveInputs(original, readHessian(linear, cols));
  const { U, damping: used, retries } = await factors.of(alive.H, { damping, kernels, signal });
  const groups = Math.ceil(cols / group), passing = { U, blockSize: group, compensation, kernels, signal };

  const wanted = new Float64Array(rows * groups * sums);
  const costPerRow = 60 * group * 2 ** sums;
  const free: ColumnBlockQuantizer = async ({ start, X }) => {
    const place = start / group * rows * sums;
    const args = {
      ...{ x: X.data, width: X.cols, sums, coefficients: wanted.subarray(place, place + rows * sums) },
      codes: new Uint8Array(rows * X.cols),
      q: new Float32Array(rows * X.cols),
    };
    await kernels.rows(freeRows, rows, args, { costPerRow });
    return { Q: matrix(rows, X.cols, args.q) };
  };
  await obs(alive.W, free, passing);
  const count = options.lines ?? Math.min(256, Math.max(1, Math.floor(rows * groups / 8)));
  const table = Float32Array.from(kMeans(wanted, sums, { count, seed }).centres, Math.f16round);

  const codes = new Uint8Array(rows * cols), index = new Int32Array(rows * groups);
  const bound: ColumnBlockQuantizer = async ({ start, X }) => {
    const width = X.cols;
    const args = {
      ...{ x: X.data, width, sums, table, tries: TRIES },
      index: new Int32Array(rows),
      codes: new Uint8Array(rows * width),
      q: new Float32Array(rows * width),
    };
    await kernels.rows(tableRows, rows, args, { costPerRow });
    for (let i = 0; i < rows; i++) {
      codes.set(args.codes.subarray(i * width, (i + 1) * width), i * cols + start);
      index[i * groups + start / group] = args.index[i];
    }
    return { Q: matrix(rows, width, args.q) };
  };
  const { loss } = await obs(alive.W, bound, passing);
  const report = { damping: used, dampingRetries: retries, deadInputs: alive.dead, loss, lines: table.length / sums };
  return storeSubsetSum(name, { rows, cols, group, sums, codes, index, table }, report);
}

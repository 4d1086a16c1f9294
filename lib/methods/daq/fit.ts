/** The fit of one group of columns: scales and codes, in the order that the settings ask for. */
import type { Kernels } from "../../tensor/kernels.ts";
import { invertLower } from "../../tensor/linalg.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../../tensor/matrix.ts";
import { newScratch, type Scratch } from "../../tensor/scratch.ts";
import { balanceScales, decode, type FitWeights, type Group, type GroupKind, newGroup, roundScales } from "./group.ts";
import type { DaqSettings, Dor } from "./options.ts";
import { refitColumns, refitRows } from "./refit.ts";
import { recode, rsr } from "./rsr.ts";
import { recodeInTurn } from "./signs.ts";

export interface FitOptions {
  readonly kind: GroupKind;
  /** Bits of a code: planes. */
  readonly order: number;
  readonly settings: DaqSettings;
  /** D² of each column `[width]` where it is not U_jj². */
  readonly spread?: Float64Array;
  readonly kernels: Kernels;
  /** Buffers for its steps; Q is one of them. */
  readonly scratch?: Scratch;
}

/**
 * Fits a group; its scales are what fp16 holds, and its codes are chosen for those.
 *
 * @param X the group's weights, compensated for all earlier groups `[rows, width]`
 * @param U U_bb `[width, width]`
 */
export async function fitGroup(X: Matrix, U: Matrix64, options: FitOptions): Promise<{ group: Group; Q: Matrix }> {
  const { kind, order, settings, kernels, scratch = newScratch() } = options;
  const { rows, cols: width } = X, { signs, refitRounds } = settings, steps = { kind, kernels, scratch };
  const group = newGroup(X, { kind, order });
  await rsr(group, fitWeights(X, U, options), { sweeps: 0, tolerance: 0, ...settings.rsr, kind, signs, kernels });

  const sequential = settings.inside === "sequential";
  const codes = () => sequential ? recodeInTurn(group, U.data, steps) : recode(group, { kind, signs, kernels });
  if (refitRounds > 0) {
    const G = conditionalMoment(U);
    const form = matrix(width, width, Float32Array.from(G.data));
    const TG = (await kernels.gemm(X, form, { out: scratch.float32("target", rows, width) })).data;
    for (let round = 0; round < refitRounds; round++) {
      await codes();
      await refitRows(group, { G, TG }, steps);
      await refitColumns(group, { G, TG }, steps);
    }
  }
  balanceScales(group);
  roundScales(group.colScale);
  roundScales(group.rowScale);
  if (kind.recodesRounded || sequential || refitRounds > 0) await codes();

  return { group, Q: await decode(group, { kind, kernels, out: scratch.float32("decoded", rows, width) }) };
}

/** Lambda² of Eq. 6 for a group, as `settings` ask for it. */
function fitWeights(X: Matrix, U: Matrix64, { settings: { columnWeights, dor }, spread }: FitOptions): FitWeights {
  const width = X.cols;
  const conditional = Float64Array.from({ length: width }, (_, j) => U.data[j * width + j] ** 2);
  return {
    columnWeight: columnWeights ? columnCosts(conditional) : new Float64Array(width).fill(1),
    salient: dor ? salientMask(X, spread ?? conditional, dor) : new Uint8Array(0),
    salientWeight: dor ? dor.weight : 1,
  };
}

/** omega_j = 1 / U_jj², normalised to mean 1: what an error of column j costs once later columns made up for it. */
function columnCosts(conditional: Float64Array): Float64Array {
  const inverse = conditional.map((v) => 1 / v);
  const mean = inverse.reduce((a, b) => a + b, 0) / inverse.length;
  return inverse.map((v) => v / mean);
}

/** Pi of Eq. 10: the entries whose saliency Z = W² / D² lies more than `sigma` (unbiased) deviations above the mean of the group. */
export function salientMask(X: Matrix, spread: Float64Array, { sigma }: Dor): Uint8Array {
  const { rows, cols, data } = X;
  const n = rows * cols;
  let sum = 0, squares = 0;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      const z = data[i * cols + j] ** 2 / (spread[j] + 1e-12);
      sum += z;
      squares += z * z;
    }
  }
  const mean = sum / n;
  const deviation = Math.sqrt(Math.max(0, squares - n * mean * mean) / (n - 1));
  // Z is not negative and skewed, so that |Z - mean| > sigma · deviation is its upper tail.
  const cut = mean + sigma * (deviation + 1e-12);
  const mask = new Uint8Array(new SharedArrayBuffer(n));
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      if (data[i * cols + j] ** 2 / (spread[j] + 1e-12) > cut) mask[i * cols + j] = 1;
    }
  }
  return mask;
}

/** G = U⁻¹ U⁻ᵀ, the second moment of the group's inputs given those of all later groups. */
function conditionalMoment(U: Matrix64): Matrix64 {
  const n = U.rows;
  const lower = matrix64(n, n);
  for (let j = 0; j < n; j++) {
    for (let p = 0; p <= j; p++) lower.data[j * n + p] = U.data[p * n + j];
  }
  // With L = Uᵀ: G = L⁻ᵀ L⁻¹.
  const inverse = invertLower(lower).data;
  const G = matrix64(n, n);
  for (let k = 0; k < n; k++) {
    for (let i = 0; i <= k; i++) {
      const f = inverse[k * n + i];
      for (let j = 0; j <= k; j++) G.data[i * n + j] += f * inverse[k * n + j];
    }
  }
  return G;
}

/** [H⁻¹]_jj = sum_i U_ij², `[columns]`. */
export function marginals(U: Matrix64): Float64Array {
  const out = new Float64Array(U.cols);
  for (let i = 0; i < U.rows; i++) {
    for (let j = i; j < U.cols; j++) out[j] += U.data[i * U.cols + j] ** 2;
  }
  return out;
}

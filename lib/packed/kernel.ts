/** What the kernels of `MatMulNBits` compute with, whatever the stored form: blocks of uniform codes with a scale and a zero point per row. */

/** Neighbouring columns of x that one kernel block reads; a block that is wider than its run is padded with zeros. */
export interface Run {
  readonly from: number;
  readonly width: number;
}

export interface Term {
  readonly rows: number;
  /** Codes per kernel block: 32, 64 or 128, which the kernels have. */
  readonly block: number;
  readonly runs: readonly Run[];
  readonly bits: 2 | 4 | 8;
  /** `[rows, runs, block · bits / 8]`, least significant bit first. */
  readonly codes: Uint8Array;
  /** Whether `codes` are the bytes of the stored form themselves, not a copy. */
  readonly asStored?: boolean;
  /** `[rows, runs]` float32. */
  readonly scales: Float32Array;
  /** Zero points `[rows, ceil(runs · bits / 8)]`, a stream per row; absent where they are 2^(bits - 1). */
  readonly zeros?: Uint8Array;
  /** Factors of the columns that the runs read `[runs · block]`, zero where padded. */
  readonly colScale?: Float32Array;
  /** What the sum over a run's inputs, column scales included, is multiplied with `[runs, rows]`: codes of two bits have no zero between 1 and 2. */
  readonly shift?: Float32Array;
}

export interface StoredTerms {
  readonly terms: readonly Term[];
  /** The column of x at each place, where the form wants them in another order. */
  readonly order?: Int32Array;
}

/** The kernel block for groups of `group` columns: the one that pads least, the widest of those. */
export function kernelBlock(group: number): number {
  const padded = (block: number) => Math.ceil(group / block) * block;
  return [128, 64, 32].reduce((best, block) => padded(block) < padded(best) ? block : best);
}

/** The runs of one group. */
export function runsOf(from: number, width: number, block: number): Run[] {
  const runs: Run[] = [];
  for (let at = 0; at < width; at += block) runs.push({ from: from + at, width: Math.min(block, width - at) });
  return runs;
}

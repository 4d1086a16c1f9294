/** What a linear will take in its stored form, before it is quantised. Tests hold these against the bytes that encoders write. */

/** Bytes of the form `uniform`: codes, an fp16 scale per row and group, and a zero point of as many bits as a code where the grid is asymmetric. */
function uniformBytes(
  { rows, cols, bits, group, symmetric = false }: {
    readonly rows: number;
    readonly cols: number;
    readonly bits: number;
    readonly group: number;
    readonly symmetric?: boolean;
  },
): number {
  const scales = rows * Math.ceil(cols / group);
  return Math.ceil(rows * cols * bits / 8) + 2 * scales + (symmetric ? 0 : Math.ceil(scales * bits / 8));
}

/** A linear of a form with groups of columns. */
export interface GroupedShape {
  readonly rows: number;
  readonly cols: number;
  /** K of every group: planes of `binary`, bits of a code of `levels`. */
  readonly order: number;
  readonly group: number;
  /** Bits of a row scale; with 8, each group and plane has an fp16 pair more. */
  readonly rowScaleBits?: 8 | 16;
}

/** Bytes of the form `binary`: signs, row scales per group and plane, fp16 column scales per plane, 2 bits of order per group. */
function binaryBytes(shape: GroupedShape): number {
  return groupedBytes(shape, shape.order);
}

/** Bytes of the form `levels`: codes, row scales per group, fp16 column scales, 2 bits of order per group. */
function levelsBytes(shape: GroupedShape): number {
  return groupedBytes(shape, 1);
}

function groupedBytes({ rows, cols, order, group, rowScaleBits = 16 }: GroupedShape, scales: number): number {
  const groups = Math.ceil(cols / group);
  let codes = 0;
  for (let start = 0; start < cols; start += group) {
    codes += Math.ceil(rows * Math.min(group, cols - start) * order / 8);
  }
  const rowScales = scales * groups * (rowScaleBits === 8 ? rows + 4 : 2 * rows);
  return codes + rowScales + 2 * scales * cols + Math.ceil(groups / 4);
}

/**
 * Bytes of a linear in each stored form, by the name of the form.
 *
 * @example
 * ```ts
 * import { formBytes } from "quant-dllm";
 *
 * const shape = { rows: 4096, cols: 4096, group: 128 };
 * const bytes = [formBytes.uniform({ ...shape, bits: 2 }), formBytes.binary({ ...shape, order: 2 })];
 * console.log(bytes.map((b) => 8 * b / 4096 ** 2)); // bits per weight of GPTQ's codes and of DAQ's planes
 * ```
 */
export const formBytes = { uniform: uniformBytes, binary: binaryBytes, levels: levelsBytes } as const;

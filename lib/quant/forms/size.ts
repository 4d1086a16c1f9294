/** What a linear will take in its stored form, before it is quantised. Tests hold these against the bytes that encoders write. */

/** Bytes of the form `uniform`: codes, an fp16 scale per row and group, and a zero point of as many bits as a code where the grid is asymmetric. */
export function uniformBytes(
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

/** A linear of a block-wise form. */
export interface BlockwiseShape {
  readonly rows: number;
  readonly cols: number;
  /** K of every block: planes of `binary`, bits of a code of `levels`. */
  readonly order: number;
  readonly group: number;
  /** Bits of a row scale; with 8, each block and plane has an fp16 pair more. */
  readonly rowScaleBits?: 8 | 16;
}

/** Bytes of the form `binary`: signs, row scales per block and plane, fp16 column scales per plane, 2 bits of order per block. */
export function binaryBytes(shape: BlockwiseShape): number {
  return blockwiseBytes(shape, shape.order);
}

/** Bytes of the form `levels`: codes, row scales per block, fp16 column scales, 2 bits of order per block. */
export function levelsBytes(shape: BlockwiseShape): number {
  return blockwiseBytes(shape, 1);
}

function blockwiseBytes({ rows, cols, order, group, rowScaleBits = 16 }: BlockwiseShape, scales: number): number {
  const blocks = Math.ceil(cols / group);
  let codes = 0;
  for (let start = 0; start < cols; start += group) {
    codes += Math.ceil(rows * Math.min(group, cols - start) * order / 8);
  }
  const rowScales = scales * blocks * (rowScaleBits === 8 ? rows + 4 : 2 * rows);
  return codes + rowScales + 2 * scales * cols + Math.ceil(blocks / 4);
}

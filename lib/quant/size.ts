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

/** Bytes of the form `binary` with `order` planes in every block: signs, fp16 row scales per block, fp16 column scales, 2 bits of order per block. */
export function binaryBytes(
  { rows, cols, order, group }: {
    readonly rows: number;
    readonly cols: number;
    readonly order: number;
    readonly group: number;
  },
): number {
  const blocks = Math.ceil(cols / group);
  let signs = 0;
  for (let start = 0; start < cols; start += group) {
    signs += Math.ceil(rows * Math.min(group, cols - start) * order / 8);
  }
  return signs + 2 * order * (rows * blocks + cols) + Math.ceil(blocks / 4);
}

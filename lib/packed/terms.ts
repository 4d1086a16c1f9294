/**
 * A stored linear as a sum of products that `MatMulNBits` computes. Each term takes some columns of x, times column scales where the form has them, and
 * multiplies with uniform codes: (code - zero) · scale per row and kernel block.
 */
import { blockOrders, groupOf } from "../quant/forms/grouped.ts";
import { bytesOf, halvesOf } from "../quant/tensors.ts";
import type { QuantizedLinear } from "../quant/method.ts";
import { rowScalesOf } from "../quant/forms/row_scales.ts";
import { fillCodes, recode } from "./codes.ts";
import { kernelBlock, runsOf, type StoredTerms, type Term } from "./kernel.ts";
import { mixedTerms } from "./mixed.ts";
import { levelParts, type Part, planeParts, type StoredBlock } from "./parts.ts";
import { uniformTerms } from "./uniform.ts";

/**
 * The terms of a stored linear. `narrow` keeps two-bit codes in two bits, which the kernels with int8 activations want; without, they take four, which
 * those with float activations want.
 *
 * @throws RangeError when a tensor does not fit the shape or a code has more bits than a term takes, TypeError for an unknown form.
 */
export function termsOf(q: QuantizedLinear, narrow: boolean): StoredTerms {
  if (q.format === "uniform") return uniformTerms(q, narrow);
  if (q.format === "binary" || q.format === "levels") return { terms: blockTerms(q, narrow) };
  if (q.format === "mixed") return { terms: mixedTerms(q, narrow) };
  throw new TypeError(
    `Cannot run "${q.name}" packed: its format is "${q.format}", wanted uniform, binary, levels or mixed; run it dense`,
  );
}

function blockTerms(q: QuantizedLinear, narrow: boolean): Term[] {
  const [rows, cols] = q.shape;
  const group = groupOf(q), binary = q.format === "binary";
  const blocks: StoredBlock[] = [];
  let byte = 0, plane = 0, scale = 0;
  blockOrders(q).forEach((order, b) => {
    const from = b * group, width = Math.min(group, cols - from);
    blocks.push({ from, width, order, byte, plane, scale });
    byte += Math.ceil(rows * width * order / 8);
    plane += binary ? order : 1;
    scale += binary ? order * width : width;
  });
  const codes = bytesOf(q, "codes"), rowScale = rowScalesOf(q), colScale = halvesOf(q, "col_scale");
  for (
    const [what, found, wanted] of [
      ["bytes of codes", codes.length, byte],
      ["row scales", rowScale.length, plane * rows],
      ["column scales", colScale.length, scale],
    ] as const
  ) {
    if (found !== wanted) throw new RangeError(`Cannot run "${q.name}": it has ${found} ${what}, wanted ${wanted}`);
  }
  const parts = binary ? planeParts : levelParts;
  return parts(q.name, blocks, narrow).map((part) =>
    blockTerm(part, rows, kernelBlock(group), codes, rowScale, colScale)
  );
}

function blockTerm(
  { blocks, bits, factor, plane, map, shifted }: Part,
  rows: number,
  block: number,
  codes: Uint8Array,
  rowScale: Float32Array,
  colScale: Float32Array,
): Term {
  const runs = blocks.flatMap((b) => runsOf(b.from, b.width, block));
  const n = runs.length;
  const out = new Uint8Array(rows * n * block * bits / 8);
  const scales = new Float32Array(rows * n), columns = new Float32Array(n * block);
  const shift = shifted ? new Float32Array(n * rows) : undefined;
  const byRun = shift ?? new Float32Array(n * rows);
  let at = 0;
  for (const b of blocks) {
    const table = Array.from({ length: 1 << b.order }, (_, code) => map(code, b.order));
    const a = rowScale.subarray((b.plane + plane) * rows, (b.plane + plane + 1) * rows);
    const c = colScale.subarray(b.scale + plane * b.width);
    for (const { from, width } of runsOf(0, b.width, block)) {
      const place = { rows, to: out, strideTo: n * block };
      recode(b.order, bits, table, {
        ...place,
        count: width,
        from: codes.subarray(b.byte),
        at: from,
        stride: b.width,
        atTo: at * block,
      });
      padRows(out, bits, rows, n * block, at * block + width, block - width, 1 << (bits - 1));
      byRun.set(a, at * rows);
      columns.set(c.subarray(from, from + width), at * block);
      at++;
    }
  }
  transposeScaled(byRun, rows, factor, scales);
  return { rows, block, runs, bits, codes: out, scales, colScale: columns, shift };
}

/** `to` `[rows, runs]` from `from` `[runs, rows]`, times `factor`; by strips of rows, since one side runs down columns. */
function transposeScaled(from: Float32Array, rows: number, factor: number, to: Float32Array): void {
  const STRIP = 64, n = to.length / rows;
  for (let start = 0; start < rows; start += STRIP) {
    const end = Math.min(start + STRIP, rows);
    for (let r = 0; r < n; r++) {
      for (let i = start; i < end; i++) to[i * n + r] = factor * from[r * rows + i];
    }
  }
}

function padRows(to: Uint8Array, bits: number, rows: number, stride: number, at: number, count: number, code: number) {
  if (count > 0) { for (let i = 0; i < rows; i++) fillCodes(to, bits, at + i * stride, count, code); }
}

/** The stored form `uniform` as a product that `MatMulNBits` computes: 2, 4 and 8 bits as they are, three in four, five to seven in eight. */
import { packBits, packedBytes, unpackBits } from "../format/bits.ts";
import { groupOf } from "../quant/forms/grouped.ts";
import { bytesOf, halvesOf } from "../quant/tensors.ts";
import type { QuantizedLinear } from "../quant/method.ts";
import { checkUniformTensors, readUniform } from "../quant/forms/uniform.ts";
import { fillCodes, recode } from "./codes.ts";
import { kernelBlock, type Run, runsOf, type StoredTerms, type Term } from "./kernel.ts";

/** A group of columns: its place in the order of groups, and its run in the columns of that order. */
interface Group extends Run {
  readonly g: number;
}

/** A part of a code: bits from `shift` up, as many as `wide`. */
interface Part {
  readonly wide: 2 | 4 | 8;
  readonly shift: number;
}

/**
 * The terms of a linear; with a `g_idx`, columns are sorted by group. See `termsOf`. Codes of more than four bits are halved where activations stay
 * float, since kernels of eight bits are slow there: code - zero is 16 (high - high zero) + (low - low zero). Throws `RangeError` for other numbers of bits
 * than 1 to 8, and when a tensor does not fit.
 */
export function uniformTerms(q: QuantizedLinear, narrow: boolean): StoredTerms {
  const bits = Number(q.config.bits);
  if (!(Number.isInteger(bits) && bits >= 1 && bits <= 8)) {
    throw new RangeError(`Cannot run "${q.name}" packed: its codes have ${bits} bits, wanted 1 to 8; run it dense`);
  }
  checkUniformTensors(q);
  const [rows, cols] = q.shape;
  const { order, groups, codes: stream } = layout(q);
  const { scales, zeros } = grid(q, groups.length);
  if (scales.length !== rows * groups.length || stream.length !== packedBytes(rows * cols, bits)) {
    throw new RangeError(
      `Cannot run "${q.name}": it has ${scales.length} scales and ${stream.length} bytes of codes, wanted ` +
        `${rows * groups.length} and ${packedBytes(rows * cols, bits)}`,
    );
  }
  const inScale = q.tensors.in_scale && halvesOf(q, "in_scale");
  if (inScale && (inScale.length !== cols || order)) {
    throw new RangeError(`Cannot run "${q.name}" packed: it has ${inScale.length} factors of columns, wanted ${cols}`);
  }
  const parts: Part[] = bits <= 4
    ? [{ wide: bits > 2 || !narrow ? 4 : 2, shift: 0 }]
    : narrow
    ? [{ wide: 8, shift: 0 }]
    : [{ wide: 4, shift: 4 }, { wide: 4, shift: 0 }];
  return { terms: parts.map((part) => term(part, q, groups, stream, scales, zeros, inScale)), order };
}

function term(
  { wide, shift }: Part,
  { shape: [rows, cols], config }: QuantizedLinear,
  groups: readonly Group[],
  stream: Uint8Array,
  scales: Float32Array,
  zeros: Uint8Array,
  inScale: Float32Array | undefined,
): Term {
  const bits = Number(config.bits), mask = (1 << wide) - 1;
  const block = kernelBlock(Number(config.group));
  const runs = groups.flatMap(({ g, from, width }) => runsOf(from, width, block).map((run): Group => ({ ...run, g })));
  const n = runs.length;
  const runScales = new Float32Array(rows * n);
  const perRow = Math.ceil(n * wide / 8), runZeros = new Uint8Array(rows * perRow);
  let plain = true;
  runs.forEach(({ g }, r) => {
    for (let i = 0; i < rows; i++) {
      const at = i * groups.length + g, zero = (zeros[at] >> shift) & mask;
      runScales[i * n + r] = scales[at] * (1 << shift);
      runZeros[i * perRow + Math.floor(r * wide / 8)] |= zero << ((r * wide) % 8);
      if (zero !== 1 << (wide - 1)) plain = false;
    }
  });
  // Codes of the right width without padding stand in the stream as the kernel wants them.
  const asStored = bits === wide && runs.every(({ width }) => width === block);
  const codes = asStored ? stream : new Uint8Array(rows * n * block * wide / 8);
  if (!asStored) {
    const map = Array.from({ length: 1 << bits }, (_, code) => (code >> shift) & mask);
    runs.forEach(({ from, width, g }, r) => {
      const to = { to: codes, atTo: r * block, strideTo: n * block };
      recode(bits, wide, map, { rows, count: width, from: stream, at: from, stride: cols, ...to });
      if (width === block) return;
      for (let i = 0; i < rows; i++) {
        const zero = (zeros[i * groups.length + g] >> shift) & mask;
        fillCodes(codes, wide, (i * n + r) * block + width, block - width, zero);
      }
    });
  }
  const colScale = inScale && new Float32Array(n * block).map((_, k) => {
    const { from, width } = runs[Math.floor(k / block)], j = k % block;
    return j < width ? 1 / inScale[from + j] : 0;
  });
  const zeroPoints = plain ? undefined : runZeros;
  return { rows, block, runs, bits: wide, codes, asStored, scales: runScales, zeros: zeroPoints, colScale };
}

/** Groups in the order of their columns; with `g_idx` the order that brings them together, and the codes in it. */
function layout(q: QuantizedLinear): { order?: Int32Array; groups: Group[]; codes: Uint8Array } {
  const [rows, cols] = q.shape;
  const group = groupOf(q);
  const sizes = new Array<number>(Math.ceil(cols / group)).fill(0);
  let order: Int32Array | undefined, codes = bytesOf(q, "codes");
  if (q.tensors.g_idx) {
    const layer = readUniform(q), map = layer.groupOf!;
    order = Int32Array.from(map.keys()).sort((a, b) => map[a] - map[b] || a - b);
    const sorted = new Uint8Array(rows * cols);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++) sorted[i * cols + j] = layer.codes[i * cols + order[j]];
    }
    codes = packBits(sorted, layer.bits);
    for (const g of map) sizes[g]++;
  } else {
    for (let g = 0; g < sizes.length; g++) sizes[g] = Math.min(group, cols - g * group);
  }
  let from = 0;
  const groups = sizes.map((width, g): Group => {
    from += width;
    return { g, from: from - width, width };
  });
  return { order, groups, codes };
}

/** Scales and zero points `[rows, groups]`. */
function grid(q: QuantizedLinear, groups: number): { scales: Float32Array; zeros: Uint8Array } {
  const bits = Number(q.config.bits), count = q.shape[0] * groups;
  const scales = halvesOf(q, "scales");
  if (q.config.symmetric === true) return { scales, zeros: new Uint8Array(count).fill(1 << (bits - 1)) };
  return { scales, zeros: unpackBits(bytesOf(q, "zeros"), bits, count) };
}

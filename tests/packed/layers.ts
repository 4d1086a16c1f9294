/** Made-up stored linears of every form and shape, with random codes: what the packed nodes are tested and timed on. */
import { storeOrders } from "../../lib/quant/forms/grouped.ts";
import { bytesTensor, halvesTensor } from "../../lib/quant/tensors.ts";
import type { QuantizedLinear } from "../../lib/quant/method.ts";
import { storeMixed } from "../../lib/quant/forms/mixed.ts";
import { storeUniform } from "../../lib/quant/forms/uniform.ts";
import { concat } from "../../lib/tensor/concat.ts";
import { rng } from "../../lib/tensor/rng.ts";

interface Shape {
  readonly rows: number;
  readonly cols: number;
  readonly group: number;
  readonly seed?: number;
  /** Factor on all weights. */
  readonly scale?: number;
}

/** A linear of the form `levels` or `binary`; `orders` are the numbers of bits of its blocks, repeated as needed. */
export function randomBlocks(
  format: "levels" | "binary",
  { rows, cols, group, orders, seed = 1, scale = 1 }: Shape & { readonly orders: readonly number[] },
): QuantizedLinear {
  const r = rng(seed, format, rows, cols);
  const bytes = randomBytes(seed);
  const count = Math.ceil(cols / group);
  const K = Array.from({ length: count }, (_, b) => orders[b % orders.length]);
  const widths = K.map((_, b) => Math.min(group, cols - b * group));
  const planes = format === "binary" ? K : K.map(() => 1);
  const sum = (xs: readonly number[]) => xs.reduce((x, y) => x + y, 0);
  const scales = (n: number, factor = 1) => Float32Array.from({ length: n }, () => factor * (0.5 + r.next()));
  return {
    name: `${format} ${rows} x ${cols}`,
    format,
    shape: [rows, cols],
    config: { group },
    tensors: {
      codes: bytesTensor(
        concat(K.map((k, b) => trimmed(bytes(Math.ceil(rows * widths[b] * k / 8)), rows * widths[b] * k)), Uint8Array),
      ),
      row_scale: halvesTensor(scales(sum(planes) * rows, scale), [sum(planes), rows]),
      col_scale: halvesTensor(scales(sum(planes.map((p, b) => p * widths[b]))), [
        sum(planes.map((p, b) => p * widths[b])),
      ]),
      orders: storeOrders(K),
    },
    report: {},
  };
}

/** A linear of the form `uniform`; `indexed` scatters the columns of a group. */
export function randomUniform(
  { rows, cols, group, bits, symmetric, indexed = false, scaled = false, seed = 1, scale = 1 }: Shape & {
    readonly bits: number;
    readonly symmetric: boolean;
    readonly indexed?: boolean;
    /** With factors of the columns, where there is no map. */
    readonly scaled?: boolean;
  },
): QuantizedLinear {
  const r = rng(seed, "uniform", rows, cols, bits);
  const groups = Math.ceil(cols / group);
  const codes = Uint8Array.from({ length: rows * cols }, () => r.int(2 ** bits));
  const zeros = Uint8Array.from({ length: rows * groups }, () => symmetric ? 2 ** (bits - 1) : r.int(2 ** bits));
  const scales = Float32Array.from({ length: rows * groups }, () => scale * (0.5 + r.next()));
  const groupOf = indexed ? Int32Array.from(r.choose(cols, cols), (j) => Math.floor(j / group)) : undefined;
  const inScale = scaled && !indexed
    ? Float32Array.from({ length: cols }, () => Math.f16round(0.5 + 2 * r.next()))
    : undefined;
  const layer = { rows, cols, bits, group, symmetric, codes, scales, zeros, groupOf, inScale };
  return storeUniform(`uniform${bits}`, layer, {});
}

/** The form `mixed`: the bits of the groups by turns. */
export function randomMixed(
  { rows, cols, group, widths, seed = 1, scale = 1 }: Shape & { readonly widths: readonly number[] },
): QuantizedLinear {
  const r = rng(seed, "mixed", rows, cols),
    groups = Array.from({ length: Math.ceil(cols / group) }, (_, b) => {
      const start = b * group, width = Math.min(group, cols - start), bits = widths[b % widths.length];
      return {
        ...{ start, width, bits },
        codes: Uint8Array.from({ length: rows * width }, () => r.int(2 ** bits)),
        scales: Float32Array.from({ length: rows }, () => Math.f16round(scale * (0.5 + r.next()))),
        zeros: Uint8Array.from({ length: rows }, () => bits === 1 ? 0 : r.int(2 ** bits)),
        ...(bits === 1 ? { means: Float32Array.from({ length: rows }, () => Math.f16round(scale * r.normal())) } : {}),
      };
    });
  return storeMixed(`mixed ${rows} x ${cols}`, { rows, cols, group, groups }, {});
}

/** Random bytes, fast enough for tens of millions: xorshift from a seed. */
function randomBytes(seed: number): (count: number) => Uint8Array {
  let state = seed * 0x9e3779b1 | 1;
  return (count) => {
    const words = new Int32Array(Math.ceil(count / 4));
    for (let k = 0; k < words.length; k++) {
      state ^= state << 13;
      state ^= state >>> 17;
      words[k] = state ^= state << 5;
    }
    return new Uint8Array(words.buffer, 0, count);
  };
}

/** The bits beyond the last code are zero in a stored stream. */
function trimmed(bytes: Uint8Array, bits: number): Uint8Array {
  if (bits % 8 !== 0) bytes[bytes.length - 1] &= (1 << (bits % 8)) - 1;
  return bytes;
}

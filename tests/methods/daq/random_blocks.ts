/** Blocks of random codes and scales, for tests of the stored forms. */
import { type Block, roundScales } from "../../../lib/methods/daq/block.ts";
import { rng } from "../../../lib/tensor/rng.ts";

/** A block of each width and order, made by `make`; its scales are numbers that fp16 holds. */
export function randomBlocks(
  make: (x: Float32Array, rows: number, width: number, order: number) => Block,
  rows: number,
  widths: readonly number[],
  orders: readonly number[],
  seed: number,
): Block[] {
  const random = rng(seed);
  return widths.map((width, b) => {
    const block = make(new Float32Array(rows * width), rows, width, orders[b]);
    for (let p = 0; p < block.codes.length; p++) block.codes[p] = random.int(1 << orders[b]);
    for (const scale of [block.rowScale, block.colScale]) {
      for (let p = 0; p < scale.length; p++) scale[p] = random.normal();
      roundScales(scale);
    }
    return block;
  });
}

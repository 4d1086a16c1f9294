/** Groups of random codes and scales, for tests of the stored forms. */
import { type Group, type GroupKind, newGroup, roundScales } from "../../../lib/methods/daq/group.ts";
import { matrix } from "../../../lib/tensor/matrix.ts";
import { rng } from "../../../lib/tensor/rng.ts";

export interface RandomGroups {
  readonly rows: number;
  /** Of each group. */
  readonly widths: readonly number[];
  readonly orders: readonly number[];
  readonly seed: number;
}

/** A group of each width and order; its scales are numbers that fp16 holds. */
export function randomGroups(kind: GroupKind, { rows, widths, orders, seed }: RandomGroups): Group[] {
  const random = rng(seed);
  return widths.map((width, b) => {
    const group = newGroup(matrix(rows, width), { kind, order: orders[b] });
    for (let p = 0; p < group.codes.length; p++) group.codes[p] = random.int(1 << orders[b]);
    for (const scale of [group.rowScale, group.colScale]) {
      for (let p = 0; p < scale.length; p++) scale[p] = random.normal();
      roundScales(scale);
    }
    return group;
  });
}

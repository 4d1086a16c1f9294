import { assert, assertEquals } from "@std/assert";
import { balanceScales } from "../../../lib/methods/daq/group.ts";
import { planes } from "../../../lib/methods/daq/planes.ts";
import { randomGroups } from "./random_groups.ts";

Deno.test("scales are balanced by a power of two, whatever their size: the largest of the columns lies in [1, 2)", () => {
  for (const size of [1e-6, 0.3, 1, 1.5, 700]) {
    const [group] = randomGroups(planes, { rows: 3, widths: [4], orders: [2], seed: 5 });
    for (let j = 0; j < group.colScale.length; j++) group.colScale[j] *= size / 4;
    const products = () =>
      Array.from({ length: 24 }, (_, k) => {
        const plane = Math.floor(k / 12), i = Math.floor(k / 4) % 3, j = k % 4;
        return group.rowScale[plane * 3 + i] * group.colScale[plane * 4 + j];
      });
    const before = products();
    balanceScales(group);
    assertEquals(products(), before);
    for (const plane of [0, 1]) {
      const top = Math.max(...group.colScale.subarray(4 * plane, 4 * plane + 4).map(Math.abs));
      assert(top >= 1 && top < 2, `${top}`);
    }
  }
});

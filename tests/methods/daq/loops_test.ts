import { assert, assertEquals } from "@std/assert";
import { fitGroup } from "../../../lib/methods/daq/fit.ts";
import { type Group, type GroupLoops, newGroup, type PlaneArgs } from "../../../lib/methods/daq/group.ts";
import { profiles } from "../../../lib/methods/daq/options.ts";
import { planes } from "../../../lib/methods/daq/planes.ts";
import { rescaleColumns } from "../../../lib/methods/daq/rsr.ts";
import { nearestCode, recodeInTurn, valueAt } from "../../../lib/methods/daq/signs.ts";
import { referenceKernels as kernels } from "../../../lib/tensor/kernels.ts";
import { matrix, matrix64 } from "../../../lib/tensor/matrix.ts";
import { rng } from "../../../lib/tensor/rng.ts";
import { newScratch } from "../../../lib/tensor/scratch.ts";

const plain = planes.loops, two = { ...planes.loops, ...planes.twoPlanes };

/** A group with scales and codes drawn at random: some scales negative, and a share of them zero. */
function drawn(rows: number, width: number, order: number, zeros = 0): Group {
  const random = rng(11, rows, width, order);
  const X = matrix(rows, width, Float32Array.from({ length: rows * width }, random.normal));
  const group = newGroup(X, { kind: planes, order });
  for (let p = 0; p < group.codes.length; p++) group.codes[p] = random.int(2 ** order);
  for (const scales of [group.rowScale, group.colScale]) {
    for (let p = 0; p < scales.length; p++) scales[p] = random.next() < zeros ? 0 : random.normal();
  }
  return group;
}

const scalesOfRow = ({ rows, order, rowScale }: Group, i: number) =>
  Float64Array.from({ length: order }, (_, k) => rowScale[k * rows + i]);
const entryOf = (group: Group, i: number, j: number) => ({
  a: scalesOfRow(group, i).map((r, k) => r * group.colScale[k * group.width + j]),
  levels: new Float64Array(2 ** group.order),
});
const levelOf = (group: Group, code: number, i: number, j: number) => valueAt(code, entryOf(group, i, j));

/** The code of the level nearest to x, by trying all. */
function nearest(block: Group, x: number, i: number, j: number): number {
  const codes = [...Array(2 ** block.order).keys()];
  return codes.sort((a, b) => Math.abs(x - levelOf(block, a, i, j)) - Math.abs(x - levelOf(block, b, i, j)))[0];
}

const close = (a: ArrayLike<number>, b: ArrayLike<number>, what: string) => {
  for (let p = 0; p < b.length; p++) {
    assert(Math.abs(a[p] - b[p]) <= 1e-9 * (1 + Math.abs(b[p])), `${what} ${p}: ${a[p]} against ${b[p]}`);
  }
};

/** An upper triangular factor `[width, width]`. */
function upper(width: number, random: ReturnType<typeof rng>): Float64Array {
  const U = new Float64Array(width * width);
  for (let j = 0; j < width; j++) {
    for (let p = j; p < width; p++) U[j * width + p] = j === p ? 1 + random.next() : 0.3 * random.normal();
  }
  return U;
}

const SIZES = [[1, 1], [7, 3], [64, 5], [65, 16], [130, 4]];

Deno.test("one update of a plane is Eqs. 8 and 9, for two planes and three, an odd number of rows, salient or not", async () => {
  for (const [rows, width] of SIZES) {
    for (const [order, { rescale }] of [[2, plain], [2, two], [3, plain]] as [number, GroupLoops][]) {
      for (const [plane, recode, anySalient] of [[0, "joint", true], [0, "joint", false], [1, "none", true]] as const) {
        const block = drawn(rows, width, order),
          what = `${rescale.name}, ${rows} x ${width}, order ${order}, plane ${plane}`;
        const columnWeight = Float64Array.from({ length: width }, (_, j) => 1 + j % 3);
        const salient = Uint8Array.from({ length: anySalient ? rows * width : 0 }, (_, p) => +(p % 5 === 0));
        const partial = new Float64Array(Math.ceil(rows / 64) * (2 * width + 1));
        const own = { plane, active: order, recode, epsilon: 1e-8, partial };
        const args = { ...block, columnWeight, salient, salientWeight: 3, ...own };

        // The formulas as they stand.
        const codes = block.codes.slice(), r = new Float64Array(rows), c = new Float64Array(width);
        const old = { ...block, rowScale: block.rowScale.slice(), colScale: block.colScale.slice() };
        const c0 = old.colScale.slice(plane * width, (plane + 1) * width);
        const omega = (i: number, j: number) => columnWeight[j] * (anySalient && salient[i * width + j] ? 3 : 1);
        const signed = (i: number, j: number) => {
          const code = codes[i * width + j], sign = (code >> plane & 1) * 2 - 1;
          return sign * (old.x[i * width + j] - levelOf(old, code, i, j)) + scalesOfRow(old, i)[plane] * c0[j];
        };
        for (let i = 0; i < rows; i++) {
          let above = 0, below = 0;
          for (let j = 0; j < width; j++) {
            if (recode === "joint") codes[i * width + j] = nearest(old, old.x[i * width + j], i, j);
            above += omega(i, j) * c0[j] * signed(i, j);
            below += omega(i, j) * c0[j] ** 2;
          }
          r[i] = above / (below + 1e-8);
        }
        let loss = 0;
        for (let j = 0; j < width; j++) {
          let above = 0, below = 0;
          for (let i = 0; i < rows; i++) {
            above += omega(i, j) * r[i] * signed(i, j);
            below += omega(i, j) * r[i] ** 2;
          }
          c[j] = above / (below + 1e-8);
          for (let i = 0; i < rows; i++) loss += omega(i, j) * (signed(i, j) - r[i] * c[j]) ** 2;
        }

        await kernels.rows(rescale, Math.ceil(rows / 64), args);
        const losses = rescaleColumns(args);
        assertEquals(block.codes, codes, what);
        const fresh = block.rowScale.slice(plane * rows, (plane + 1) * rows);
        close(fresh, r, `${what}, row scale`);
        close(block.colScale.slice(plane * width, (plane + 1) * width), c, `${what}, column scale`);
        assert(Math.abs(losses[1] - loss) <= 1e-9 * (1 + loss), `${what}: loss ${losses[1]} against ${loss}`);
      }
    }
  }
});

Deno.test("signs in turn are those of one column after another, for an odd number of rows too", async () => {
  for (const [rows, width] of SIZES) {
    for (const [order, kind] of [[2, { ...planes, twoPlanes: undefined }], [2, planes], [3, planes]] as const) {
      const block = drawn(rows, width, order, 0.05), random = rng(12, rows, width);
      const U = upper(width, random);
      /** The loss |(x - Q) U⁻¹|² of row i, and the codes chosen in turn where none are given. */
      const walk = (i: number, given?: Uint8Array) => {
        const w = Float64Array.from({ length: width }, (_, j) => block.x[i * width + j]);
        const codes = new Uint8Array(width);
        let loss = 0;
        for (let j = 0; j < width; j++) {
          codes[j] = given ? given[i * width + j] : nearest(block, w[j], i, j);
          const e = (w[j] - levelOf(block, codes[j], i, j)) / U[j * width + j];
          for (let p = j + 1; p < width; p++) w[p] -= e * U[j * width + p];
          loss += e * e;
        }
        return { codes, loss };
      };
      const expected = Array.from({ length: rows }, (_, i) => {
        const fresh = walk(i), old = walk(i, block.codes);
        return Math.min(fresh.loss, old.loss);
      });
      await recodeInTurn(block, U, { kind, kernels, scratch: newScratch() });
      const found = Array.from({ length: rows }, (_, i) => walk(i, block.codes).loss);
      close(found, expected, `${rows} x ${width}, order ${order}, loss of row`);
    }
  }
});

/** Arrays equal number by number; of numbers, only zeros differ in their bits where they are equal. */
const same = (a: ArrayLike<number>, b: ArrayLike<number>, what: string) => {
  assertEquals(a.length, b.length, what);
  for (let p = 0; p < b.length; p++) assert(a[p] === b[p], `${what} ${p}: ${a[p]} against ${b[p]}`);
};

/** The same rows of a group, in memory of their own. */
function rowsOf(group: Group, which: readonly number[]): Group {
  const { rows, width, order } = group;
  const own = newGroup(matrix(which.length, width), { kind: planes, order });
  which.forEach((i, to) => {
    own.x.set(group.x.subarray(i * width, (i + 1) * width), to * width);
    own.codes.set(group.codes.subarray(i * width, (i + 1) * width), to * width);
    for (let k = 0; k < order; k++) own.rowScale[k * which.length + to] = group.rowScale[k * rows + i];
  });
  own.colScale.set(group.colScale);
  return own;
}

const all = (count: number) => [...Array(count).keys()];

Deno.test("two planes: one update of a plane is the plain loop's, bit for bit", () => {
  for (const [rows, width] of SIZES) {
    for (const order of [2, 3]) {
      for (const plane of [0, 1]) {
        for (const recode of order === 2 ? ["joint", "none"] as const : ["none"] as const) {
          for (const [zeros, anySalient] of [[0, false], [0, true], [0.1, true]] as const) {
            const group = drawn(rows, width, order, zeros);
            const columnWeight = Float64Array.from({ length: width }, (_, j) => 0.3 + j % 3);
            const run = (loops: GroupLoops, which: readonly number[]) => {
              const own = rowsOf(group, which);
              const salient = Uint8Array.from(
                { length: anySalient ? which.length * width : 0 },
                (_, p) => +((which[Math.floor(p / width)] * width + p % width) % 5 === 0),
              );
              const partial = new Float64Array(Math.ceil(which.length / 64) * (2 * width + 1));
              const rest = { plane, active: 2, recode, epsilon: 1e-8, partial };
              const args = { ...own, columnWeight, salient, salientWeight: 3, ...rest };
              loops.rescale.run(args, 0, Math.ceil(which.length / 64));
              return { ...own, partial };
            };
            const a = run(two, all(rows)), b = run(plain, all(rows));
            const what = `${rows} x ${width}, plane ${plane} of ${order}, ${recode}`;
            same(a.codes, b.codes, `${what}: codes`);
            same(a.rowScale, b.rowScale, `${what}: a_r`);
            for (let chunk = 0; chunk * 64 < rows; chunk++) {
              const base = chunk * (2 * width + 1), end = base + 2 * width;
              same(a.partial.subarray(base, end), b.partial.subarray(base, end), `${what}: sums of Eq. 9`);
              // Two rows at a time, losses are added up apart: those of even rows, and those of odd ones.
              const [even, odd] = [0, 1].map((odd) => {
                const own = all(rows).filter((i) => Math.floor(i / 64) === chunk && i % 2 === odd);
                return own.length === 0 ? 0 : run(plain, own).partial[2 * width];
              });
              same([a.partial[end]], [even + odd], `${what}: loss`);
            }
          }
        }
      }
    }
  }
});

Deno.test("two planes: values, differences, sums of the rows' systems, descent and signs in turn are the plain loops', bit for bit", () => {
  for (const [rows, width] of SIZES) {
    for (const zeros of [0, 0.1]) {
      const random = rng(13, rows, width), count = Math.ceil(rows / 64);
      const numbers = (length: number) => Float32Array.from({ length }, random.normal);
      const U = upper(width, random), form = numbers(width * width), R = numbers(rows * width);
      for (let j = 0; j < width; j++) form[j * width + j] = 2 + random.next();
      // Every second row may change its codes: loss of the old ones.
      const old = Float64Array.from({ length: rows }, (_, i) => i % 2 === 0 ? Infinity : width);
      const shapesOfRows = numbers(2 * rows * width);
      const products = shapesOfRows.map((m) => 1.5 * m), TG = numbers(rows * width);
      const run = (loops: GroupLoops) => {
        const group = () => drawn(rows, width, 2, zeros);
        const decoded = { ...group(), out: new Float32Array(rows * width) };
        const difference = { ...group(), out: new Float64Array(rows * width) };
        const inTurn = { ...group(), U, old };
        const descent = { ...group(), form, R, sweeps: 3 };
        const solved = { ...group(), shapesOfRows, products, TG };
        loops.decode.run(decoded, 0, count);
        loops.difference.run(difference, 0, count);
        loops.inTurn.run(inTurn, 0, count);
        loops.descend.run(descent, 0, count);
        loops.solveRows.run(solved, 0, count);
        return [decoded.out, difference.out, inTurn.codes, descent.codes, solved.rowScale];
      };
      const before = drawn(rows, width, 2, zeros), a = run(two), b = run(plain);
      a.forEach((array, n) => same(array, b[n], `${rows} x ${width}, array ${n}`));
      if (rows * width > 50) {
        for (const changed of a.slice(2, 4)) assert(changed.some((code, p) => code !== before.codes[p]));
        assert(a[4].some((r, p) => r !== before.rowScale[p]));
      }
    }
  }
});

Deno.test("two planes: every loop of two planes is written out, but for signs on their own", () => {
  assertEquals(Object.keys(planes.twoPlanes!).sort(), Object.keys(plain).filter((name) => name !== "recode").sort());
  for (const [name, loop] of Object.entries(planes.twoPlanes!)) assert(loop !== plain[name as keyof GroupLoops], name);
});

Deno.test("two planes: a whole fit by plain loops gives the same group", async () => {
  const random = rng(14), rows = 70, width = 24;
  const X = matrix(rows, width, Float32Array.from({ length: rows * width }, random.normal));
  const U = matrix64(width, width, upper(width, random));
  for (const settings of Object.values(profiles)) {
    const fit = (kind: typeof planes) => fitGroup(X, U, { kind, order: 2, settings, kernels });
    const { group, Q } = await fit(planes), slow = await fit({ ...planes, twoPlanes: undefined });
    same(group.codes, slow.group.codes, "codes");
    same(group.rowScale, slow.group.rowScale, "a_r");
    same(group.colScale, slow.group.colScale, "a_c");
    same(Q.data, slow.Q.data, "Q");
  }
});

Deno.test("the closed form of two planes finds a nearest level, as trying all does for any number of planes", () => {
  const random = rng(15);
  for (const order of [1, 2, 3, 4]) {
    for (let n = 0; n < 200; n++) {
      const entry = { a: Float64Array.from({ length: order }, random.normal), levels: new Float64Array(2 ** order) };
      const x = 2 * random.normal(), found = Math.abs(x - valueAt(nearestCode(x, entry), entry));
      for (let code = 0; code < 2 ** order; code++) {
        assert(found <= Math.abs(x - valueAt(code, entry)) + 1e-12, `order ${order}, code ${code}`);
      }
    }
  }
});

Deno.test("signs plane by plane are those of what the other planes leave", () => {
  const group = drawn(70, 9, 3), { rows, width, x } = group;
  const args: PlaneArgs = { ...group, plane: 1, active: 3, recode: "plane" };
  const before = group.codes.slice();
  plain.recode.run(args, 0, 2);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j++) {
      const at = i * width + j, other = group.codes[at] ^ 2;
      assertEquals(group.codes[at] & 5, before[at] & 5);
      const error = (code: number) => Math.abs(x[at] - levelOf(group, code, i, j));
      assert(error(group.codes[at]) <= error(other) + 1e-12, `row ${i}, column ${j}`);
    }
  }
});

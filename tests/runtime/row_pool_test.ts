import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { RowPool } from "../../lib/runtime/row_pool.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { exportedLoop } from "../../lib/tensor/row_loop.ts";
import * as loops from "./row_loops.ts";

const { failing, normalise } = loops;

const ROWS = 203, COLUMNS = 37;

function input() {
  const random = rng(3, "rows");
  const x = Float32Array.from({ length: ROWS * COLUMNS }, () => random.normal());
  return { x, y: new Float32Array(x.length), sums: new Float64Array(ROWS).fill(1), columns: COLUMNS };
}

Deno.test("row pool: one, two and three threads give the bytes of the plain loop", async () => {
  const plain = input();
  await referenceKernels.rows(normalise, ROWS, plain);
  for (const threads of [1, 2, 3]) {
    await using pool = new RowPool(threads);
    for (let repeat = 0; repeat < 3; repeat++) {
      const args = input();
      await pool.run(normalise, ROWS, args);
      assertEquals(args, plain);
    }
  }
});

Deno.test("row pool: shared arrays are worked on in place, smaller jobs reuse larger buffers", async () => {
  await using pool = new RowPool(2);
  const { x, y, sums } = input();
  const shared = new Float32Array(new SharedArrayBuffer(y.byteLength));
  await pool.run(normalise, ROWS, { x, y: shared, sums, columns: COLUMNS });
  const few = { x: x.slice(0, 5 * COLUMNS), y: new Float32Array(5 * COLUMNS), sums: new Float64Array(5).fill(1) };
  await pool.run(normalise, 5, { ...few, columns: COLUMNS });
  assertEquals(few.y, shared.slice(0, few.y.length));
});

Deno.test("row pool: an error on any thread reaches the caller, and the pool goes on", async () => {
  await using pool = new RowPool(2);
  for (const at of [0, 50, ROWS - 1]) {
    await assertRejects(() => pool.run(failing, ROWS, { at }), Error, "is no good");
  }
  await pool.run(failing, ROWS, { at: ROWS });
});

Deno.test("row pool: refuses senseless sizes and work after its end", async () => {
  assertThrows(() => new RowPool(0), RangeError);
  const pool = new RowPool(2);
  await pool[Symbol.asyncDispose]();
  assertThrows(() => pool.run(failing, 1, { at: 2 }), TypeError, "disposed");
});

Deno.test("row loops are found among what their modules export, and nowhere else", () => {
  assertStrictEquals(exportedLoop(loops, failing), failing);
  assertThrows(
    () => exportedLoop(loops, { ...failing, module: "elsewhere" }),
    TypeError,
    "elsewhere does not export it",
  );
  assertThrows(() => exportedLoop(loops, { ...failing, name: "test.other" }), TypeError, "test.other");
  assertThrows(() => exportedLoop({ nothing: null, none: undefined, failing: "" }, failing), TypeError, "test.failing");
});

Deno.test("every module of the library exports the row loops that it defines: else only the calling thread would run them", async () => {
  let found = 0;
  const visit = async (folder: URL) => {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      if (isDirectory) await visit(new URL(`${name}/`, folder));
      else if (name.endsWith(".ts")) {
        const url = new URL(name, folder), text = await Deno.readTextFile(url);
        const defined = [...text.matchAll(/= defineRows\(\{\s*name: "([^"]*)"/g)].map(([, name]) => name);
        assertEquals(defined.length, text.split("= defineRows(").length - 1, url.href);
        assertEquals(new Set(defined).size, defined.length, url.href);
        const exports = defined.length > 0 ? await import(url.href) : {};
        for (const name of defined) exportedLoop(exports, { name, module: url.href });
        found += defined.length;
      }
    }
  };
  await visit(new URL("../../lib/", import.meta.url));
  assert(found > 15, `only ${found} loops were found`);
});

Deno.test("fast kernels: products agree with plain loops in every transposition, from views and shared memory", async () => {
  await using runtime = await openRuntime({ device: "cpu" });
  await using kernels = fastKernels(runtime, { threads: 1 });
  const random = rng(5, "products");
  for (const [transA, transB] of [[false, false], [true, false], [false, true], [true, true]]) {
    const [m, k, n] = [23, 19, 31];
    const A = transA ? matrix64(k, m) : matrix64(m, k);
    const B = transB ? matrix64(n, k) : matrix64(k, n);
    for (const x of [A, B]) x.data.forEach((_, i) => x.data[i] = random.normal());
    const want = await referenceKernels.gemm64(A, B, { transA, transB });
    const wide = await kernels.gemm64(A, B, { transA, transB });
    assert(wide.data.every((x, i) => Math.abs(x - want.data[i]) < 1e-12));
    const view = matrix(A.rows, A.cols, Float32Array.from([7, ...A.data]).subarray(1));
    const shared = matrix(B.rows, B.cols, new Float32Array(new SharedArrayBuffer(4 * B.data.length)));
    shared.data.set(B.data);
    const narrow = await kernels.gemm(view, shared, { transA, transB });
    assert(narrow.data.every((x, i) => Math.abs(x - want.data[i]) < 1e-4));
  }
  await assertRejects(() => kernels.gemm(matrix(2, 3), matrix(2, 3)), TypeError, "2 x 3");
});

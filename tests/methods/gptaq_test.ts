import { assert, assertEquals, assertThrows } from "@std/assert";
import { gptaq } from "../../lib/methods/gptaq.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { asymmetricTerm } from "../../lib/quant/asymmetric.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { type ColumnBlockQuantizer, compensateRow, obs } from "../../lib/quant/obs.ts";
import { referenceKernels as kernels } from "../../lib/tensor/kernels.ts";
import { cholesky, invertLower, upperFactor } from "../../lib/tensor/linalg.ts";
import { type Matrix, matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { distance, layer, product } from "../layers.ts";

const n = 24;
function drifted(seed: number) {
  const linear = layer(8, n, seed), random = rng(seed, "drift");
  return { ...linear, D: matrix(n, n, Float32Array.from({ length: n * n }, () => 5 * random.normal())) };
}

Deno.test("gptaq: without α, or without drift, it is GPTQ to the byte", async () => {
  const linear = drifted(1), want = (await gptq({ bits: 2, group: 8 }).quantize(linear)).tensors;
  assertEquals((await gptaq({ bits: 2, group: 8, alpha: 0 }).quantize(linear)).tensors, want);
  assertEquals((await gptaq({ bits: 2, group: 8 }).quantize({ ...linear, D: matrix(n, n) })).tensors, want);
  const other = (await gptaq({ bits: 2, group: 8 }).quantize(linear)).tensors;
  assert(distance(other.codes.bytes, want.codes.bytes) > 0);
});

Deno.test("gptaq: the drift of inputs that are always zero does not count, in any row", async () => {
  const { H, D, ...linear } = drifted(6), dead = 5;
  const silent = ({ data }: { data: ArrayLike<number> }, keep: (i: number, j: number) => boolean) =>
    matrix(n, n, Float32Array.from(data, (x, k) => keep(Math.floor(k / n), k % n) ? x : 0));
  const still = silent(H, (i, j) => i !== dead && j !== dead);
  const of = async (D: Matrix) => (await gptaq({ bits: 2, group: 8 }).quantize({ ...linear, H: still, D })).tensors;
  assertEquals(await of(D), await of(silent(D, (_, j) => j !== dead)));
});

Deno.test("gptaq: P is strictly upper, and α D[j, later] times the inverse of H over the later columns", async () => {
  const { H, D } = drifted(2), alpha = 0.4;
  const { U } = await upperFactor(H, { damping: 0.01 });
  const P = await asymmetricTerm(D, U, { alpha, kernels });
  let mean = 0;
  for (let j = 0; j < n; j++) mean += H.data[j * n + j] / n;
  for (let j = 0; j < n; j++) {
    for (let k = 0; k <= j; k++) assertEquals(P.data[j * n + k], 0);
    const later = n - j - 1;
    if (later === 0) continue;
    const rest = matrix64(later, later);
    for (let a = 0; a < later; a++) {
      for (let b = 0; b < later; b++) {
        rest.data[a * later + b] = H.data[(j + 1 + a) * n + j + 1 + b] + (a === b ? 0.01 * mean : 0);
      }
    }
    const L = invertLower(cholesky(rest)); // H⁻¹ = LᵀL
    const drift = matrix64(1, later, Float64Array.from({ length: later }, (_, b) => alpha * D.data[j * n + j + 1 + b]));
    const Lt = matrix64(later, later);
    for (let a = 0; a < later; a++) for (let b = 0; b < later; b++) Lt.data[a * later + b] = L.data[b * later + a];
    const wanted = product(product(drift, Lt), L).data;
    const found = P.data.subarray(j * n + j + 1, (j + 1) * n);
    assert(distance(found, wanted) < 1e-9 * Math.max(1, ...wanted.map(Math.abs)), `row ${j}`);
  }
});

Deno.test("gptaq: the same codes for any block size, but not with the cross-block update as released", async () => {
  const linear = drifted(3),
    codes = async (blockSize: number, legacyCrossBlock: boolean) =>
      (await gptaq({ bits: 3, alpha: 1, blockSize, legacyCrossBlock }).quantize(linear)).tensors.codes.bytes;
  const want = await codes(1, false);
  for (const blockSize of [4, 8, 64]) assertEquals(await codes(blockSize, false), want);
  assert(distance(await codes(4, true), await codes(64, true)) > 0);
});

Deno.test("gptaq: act-order is the plain method on permuted columns, both sides of the drift with them", async () => {
  const { name, W, H, D } = drifted(4);
  const order = Array.from({ length: n }, (_, j) => j).sort((a, b) => H.data[b * (n + 1)] - H.data[a * (n + 1)]);
  const columns = (A: Matrix) => matrix(A.rows, n, A.data.map((_, k) => A.data[Math.floor(k / n) * n + order[k % n]]));
  const both = <A extends Float32Array | Float64Array>(A: A) =>
    A.map((_, k) => A[order[Math.floor(k / n)] * n + order[k % n]]) as A;
  const permuted = { name, W: columns(W), H: { ...H, data: both(H.data) }, D: { ...D, data: both(D.data) } };
  const plain = dequantize(await gptaq({ bits: 3, alpha: 1 }).quantize(permuted)).data;
  const found = dequantize(await gptaq({ bits: 3, alpha: 1, actOrder: true }).quantize({ name, W, H, D }));
  assert(distance(columns(found).data, plain) < 1e-6);
});

Deno.test("gptaq: on an endless grid Q is W (I - P)⁻¹, and more of α brings it nearer to full precision's output", async () => {
  const linear = drifted(5), { W, D } = linear, H = { ...linear.H };
  const { U } = await upperFactor(H, { damping: 0.01 });
  const objectives: number[] = [];
  for (const alpha of [0, 0.25, 1]) {
    const P = await asymmetricTerm(D, U, { alpha, kernels });
    const fine: ColumnBlockQuantizer = ({ X, U, P }) => {
      const { rows, cols } = X, q = new Float32Array(rows * cols), e = new Float32Array(rows * cols);
      for (let i = 0; i < rows; i++) {
        const w = Float64Array.from(X.data.subarray(i * cols, (i + 1) * cols));
        compensateRow(w, (_, value) => value, { U: U.data, P: P!.data, width: cols, q, e, offset: i * cols });
      }
      return { Q: matrix(rows, cols, q), E: matrix(rows, cols, e) };
    };
    const { Q } = await obs(W, fine, { U, blockSize: 5, asymmetry: { P, legacyCrossBlock: false } });
    // Q (I - P) = W.
    const back = product(Q, P).data.map((x, k) => Q.data[k] - x);
    assert(distance(back, W.data) < 1e-4 * Math.max(...Q.data.map(Math.abs)), `alpha ${alpha}`);
    objectives.push(asymmetric(Q, W, { H, D }));
  }
  assert(objectives[1] < objectives[0] && objectives[2] < objectives[1], `${objectives}`);
});

/** ‖(Q - W) X - W ΔX‖² up to what does not depend on Q: tr((Q - W) H (Q - W)ᵀ) - 2 tr((Q - W) Dᵀ Wᵀ). */
function asymmetric(Q: Matrix, W: Matrix, { H, D }: { H: Parameters<typeof product>[0]; D: Matrix }): number {
  const off = matrix(Q.rows, n, Q.data.map((q, k) => q - W.data[k]));
  const [offH, WD] = [product(off, H).data, product(W, D).data];
  return off.data.reduce((sum, d, k) => sum + d * offH[k] - 2 * d * WD[k], 0);
}

Deno.test("gptaq: its name says its options, and α beyond 0 to 1 is refused", () => {
  assertEquals(gptaq({ bits: 2, group: 128 }).name, "gptaq-2b-g128");
  const named = gptaq({ bits: 3, actOrder: true, alpha: 1, legacyCrossBlock: true });
  assertEquals(named.name, "gptaq-3b-actorder-alpha1-legacycross");
  for (const alpha of [-0.1, 1.1, NaN]) assertThrows(() => gptaq({ bits: 2, alpha }), RangeError, "alpha");
  assertThrows(() => gptaq({ bits: 0 }), RangeError, "bits");
});

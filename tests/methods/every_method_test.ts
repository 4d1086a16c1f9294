/** What holds for every method of the field: counted bits, the way to bytes and back, threads, edges, and inputs that make no sense. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { dequantize, storedBits } from "../../lib/quant/forms/decode.ts";
import type { LinearInput, QuantizedLinear } from "../../lib/quant/method.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { asMatrix, type Matrix, matrix } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { objective } from "../layers.ts";
import { everyMethod } from "./every_method.ts";

const ROWS = 40, COLS = 64, GROUP = 16;

/** A layer with inputs, what they were in full precision, and H of them. */
function given(seed: number, { rows = ROWS, cols = COLS, dead = -1 } = {}): LinearInput & { W: Matrix; H: Matrix } {
  const random = rng(seed, "given"), tokens = 3 * cols;
  const normal = (m: number, n: number) => matrix(m, n, Float32Array.from({ length: m * n }, random.normal));
  const X = normal(tokens, cols), full = matrix(tokens, cols), shared = normal(1, cols).data;
  for (let t = 0; t < tokens; t++) {
    const strength = 2 * random.normal();
    for (let j = 0; j < cols; j++) {
      X.data[t * cols + j] = j === dead ? 0 : X.data[t * cols + j] + strength * shared[j];
      full.data[t * cols + j] = X.data[t * cols + j] + (j === dead ? 0 : 0.2 * random.normal());
    }
  }
  const H = matrix(cols, cols), D = matrix(cols, cols);
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < cols; i++) {
      for (let j = 0; j < cols; j++) {
        H.data[i * cols + j] += 2 * X.data[t * cols + i] * X.data[t * cols + j];
        D.data[i * cols + j] += 2 * (full.data[t * cols + i] - X.data[t * cols + i]) * X.data[t * cols + j];
      }
    }
  }
  return { name: "up", W: normal(rows, cols), H, D, X };
}

/** The same as read from a file: copies of the bytes, at an odd place of their buffer. */
function reread(q: QuantizedLinear): QuantizedLinear {
  const tensors = Object.fromEntries(
    Object.entries(q.tensors).map(([name, tensor]) => {
      const bytes = new Uint8Array(tensor.bytes.length + 1).subarray(1);
      bytes.set(tensor.bytes);
      return [name, { ...tensor, bytes }];
    }),
  );
  return { ...q, config: JSON.parse(JSON.stringify(q.config)), tensors };
}

for (const [name, { make, bits }] of Object.entries(everyMethod)) {
  const method = make(GROUP);

  Deno.test(`${name}: its bits are those of its form, and bytes that were read again decode to the same`, async () => {
    const linear = given(1), q = await method.quantize(linear), W = dequantize(q);
    assert(method.name.startsWith(name) && method.needsHessian);
    assertEquals([W.rows, W.cols], [ROWS, COLS]);
    // Streams end on whole bytes.
    assert(
      Math.abs(storedBits(q) - bits(ROWS, COLS, GROUP) * ROWS * COLS) <= 8 * 10,
      `${storedBits(q) / (ROWS * COLS)}`,
    );
    assertEquals(dequantize(reread(q)).data, W.data);
    const error = objective(linear.W, W, { ...linear.H, data: new Float64Array(linear.H.data) });
    const whole = objective(linear.W, matrix(ROWS, COLS), { ...linear.H, data: new Float64Array(linear.H.data) });
    assert(error < 0.35 * whole, `${error / whole} of the output is lost`);
  });

  Deno.test(`${name}: the same bytes from one thread and from three, and again`, async () => {
    const linear = given(2), want = await method.quantize(linear);
    assertEquals(await method.quantize(linear), want);
    await using kernels = fastKernels(referenceKernels, { threads: 3 });
    assertEquals(await method.quantize({ ...linear, kernels }), want);
  });

  Deno.test(`${name}: dead inputs, rows of zeros, rows alike, and a last group that is short`, async () => {
    const linear = given(3, { dead: 5 });
    linear.W.data.fill(0, 2 * COLS, 3 * COLS);
    linear.W.data.fill(0.25, 4 * COLS, 5 * COLS);
    const before = { W: linear.W.data.slice(), H: linear.H.data.slice() };
    const Q = dequantize(await method.quantize(linear)).data;
    assert(Q.every(Number.isFinite));
    assertEquals([linear.W.data, linear.H.data], [before.W, before.H]);
    assert(Q.subarray(2 * COLS, 3 * COLS).every((w) => Math.abs(w) < 0.05), "a row of zeros");
    const short = given(4, { cols: 60 }), q = await make(16).quantize(short);
    assert(dequantize(reread(q)).data.every(Number.isFinite));
    assertEquals(q.shape, [ROWS, 60]);
  });

  Deno.test(`${name}: what cannot be quantised is refused by its name`, async () => {
    const linear = given(5);
    await assertRejects(() => method.quantize({ ...linear, H: undefined }), TypeError, '"up"');
    if (method.wants?.drift) {
      await assertRejects(() => method.quantize({ ...linear, D: undefined }), TypeError, '"up": gptaq wants D');
    }
    if (method.wants?.inputs) {
      await assertRejects(() => method.quantize({ ...linear, X: undefined }), TypeError, `"up": ${name} wants X`);
    }
    for (const wrong of [NaN, Infinity]) {
      const W = matrix(ROWS, COLS, asMatrix(linear.W).data.slice());
      W.data[70] = wrong;
      await assertRejects(() => method.quantize({ ...linear, W }), RangeError, '"up": weight (1, 6)');
    }
    const huge = matrix(ROWS, COLS, linear.W.data.map((w) => w * 1e9));
    await assertRejects(async () => {
      const { data } = dequantize(await method.quantize({ ...linear, W: huge }));
      if (!data.every(Number.isFinite)) throw new RangeError("not finite"); // what the pipeline says
    }, RangeError);
  });
}

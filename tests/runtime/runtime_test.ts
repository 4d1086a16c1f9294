import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Device, openRuntime } from "../../lib/runtime/runtime.ts";
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { distance } from "../layers.ts";

const devices = (names: string[]) =>
  names.some((name) => {
    try {
      return Deno.statSync(name) !== null;
    } catch {
      return false;
    }
  });

Deno.test("an explicit device that is missing is an error that says what to install", async () => {
  // Where cuda is there it must compute; everywhere else it must be refused, also beside a GPU whose libraries are missing.
  const opened = await openRuntime({ device: "cuda" }).catch((error: Error) => error);
  if (!(opened instanceof Error)) {
    await using runtime = opened;
    assert(devices(["/dev/nvidiactl"]) && runtime.device === "cuda");
    const one = matrix(1, 1, Float32Array.of(3));
    assertEquals([...(await runtime.gemm(one, one)).data], [9]);
    return;
  }
  const error = opened;
  assert(error.message.includes('Cannot use device "cuda"'), error.message);
  assert(error.message.includes("install CUDA 12 with cuDNN 9"), error.message);
  assert(error.message.includes('pass device "cpu"'), error.message);
});

Deno.test("a device that is no device is refused", async () => {
  for (const device of ["gpu", "", "toString"]) {
    await assertRejects(() => openRuntime({ device: device as Device }), RangeError, `device is "${device}"`);
  }
});

Deno.test("auto takes the first device that opens, and the cpu when the system shows no GPU", async () => {
  await using runtime = await openRuntime();
  const shown = devices(["/dev/nvidiactl", "/dev/dri/renderD128"]);
  // With a GPU the device is that which opens by name first; without one it is the cpu.
  const first = async () => {
    for (const device of shown ? ["cuda", "webgpu"] as const : []) {
      const opened = await openRuntime({ device }).catch(() => undefined);
      await opened?.[Symbol.asyncDispose]();
      if (opened) return device;
    }
    return "cpu";
  };
  assertEquals(runtime.device, await first());
});

Deno.test("products of the runtime, and of the fast kernels, are those of the plain loops", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  await using fast = fastKernels(runtime, { threads: 1 });
  const r = rng(1, "products");
  for (const [m, k, n] of [[1, 1, 1], [3, 7, 5], [16, 1, 9], [33, 65, 17]]) {
    for (const [transA, transB] of [[false, false], [true, false], [false, true], [true, true]]) {
      const [rowsA, colsA] = transA ? [k, m] : [m, k];
      const [rowsB, colsB] = transB ? [n, k] : [k, n];
      const A = matrix64(rowsA, colsA, Float64Array.from({ length: m * k }, r.normal));
      const B = matrix64(rowsB, colsB, Float64Array.from({ length: k * n }, r.normal));
      const A32 = matrix(rowsA, colsA, Float32Array.from(A.data));
      const B32 = matrix(rowsB, colsB, Float32Array.from(B.data));
      const wanted = await referenceKernels.gemm(A32, B32, { transA, transB });
      const wanted64 = await referenceKernels.gemm64(A, B, { transA, transB });
      assertEquals(wanted64.shape, [m, n]);
      for (const products of [runtime, fast]) {
        const got = await products.gemm(A32, B32, { transA, transB });
        const got64 = await products.gemm64(A, B, { transA, transB });
        assertEquals([got.shape, got64.shape], [wanted.shape, wanted64.shape]);
        assert(distance(got.data, wanted.data) <= 1e-5);
        assert(distance(got64.data, wanted64.data) <= 1e-13);
        const out = matrix(m, n);
        assertEquals(await products.gemm(A32, B32, { transA, transB, out }), out);
        assertEquals(out.data, got.data);
      }
    }
  }
  for (const products of [runtime, fast]) {
    await assertRejects(
      async () => await products.gemm(matrix(2, 3), matrix(2, 3)),
      TypeError,
      "Cannot multiply 2 x 3",
    );
  }
});

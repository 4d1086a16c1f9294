/** The fast arithmetic: a runtime's products and a pool of threads for row loops, behind the same seam as the plain loops that check it. */
import { type Kernels, type Products, productShape } from "../tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../tensor/matrix.ts";
import { RowPool } from "./row_pool.ts";

/** Handing work to other threads costs about a tenth of a millisecond: below this many operations the calling thread is faster. */
const OPERATIONS_WORTH_SHARING = 1e6;

export interface FastKernels extends Kernels, AsyncDisposable {}

/**
 * Kernels over the products of a runtime. The runtime stays the caller's to dispose; disposing the kernels ends their threads.
 *
 * @param threads for row loops, the calling one included; all cores by default
 *
 * @example
 * ```ts
 * import { fastKernels, loadModel, quantize, rtn } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * await using kernels = fastKernels(model.engine.runtime); // row loops on all cores
 * const quantized = await quantize(model, rtn({ bits: 2, group: 32, clip: true }), { kernels });
 * ```
 */
export function fastKernels(products: Products, { threads }: { threads?: number } = {}): FastKernels {
  const pool = new RowPool(threads);
  return {
    async gemm(A, B, options = {}) {
      const out = options.out ?? matrix(...productShape(A, B, options));
      await products.gemm(unshared(A), unshared(B), { ...options, out });
      return out;
    },
    async gemm64(A, B, options = {}) {
      const out = options.out ?? matrix64(...productShape(A, B, options));
      await products.gemm64(unshared(A), unshared(B), { ...options, out });
      return out;
    },
    rows(loop, rowCount, args, { costPerRow = 1000 } = {}) {
      if (pool.threads > 1 && rowCount > 1 && rowCount * costPerRow >= OPERATIONS_WORTH_SHARING) {
        return pool.run(loop, rowCount, args);
      }
      loop.run(args, 0, rowCount);
      return Promise.resolve();
    },
    [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose](),
  };
}

/** Native tensors cannot lie over shared memory. */
function unshared<M extends Matrix | Matrix64>(A: M): M {
  return A.data.buffer instanceof SharedArrayBuffer ? { ...A, data: A.data.slice() } : A;
}

/**
 * What plain loops would take at a size where they take too long to run, from a smaller one. The parts of a method grow with different powers of that
 * size n, so that no single power is right for the whole:
 *
 *   products   a factor of H and the passing on of errors are n³; products within a group of columns, whose width stays, are n². Their share differs from
 *              method to method, so it is not guessed: every product is counted, multiply-adds m · n · k, at both sizes.
 *   the rest   row loops visit each weight against the columns of its group, and copies visit each weight: n².
 *
 * Both are lower bounds. At the smaller size the matrices are in the cache, and at the larger one plain loops wait for memory.
 */
import { type GemmOptions, type Kernels, productShape } from "../../lib/tensor/kernels.ts";
import type { Matrix, Matrix64 } from "../../lib/tensor/matrix.ts";
import { once, type Time } from "./report.ts";

/** A run by its parts; `seconds` and `cpuSeconds` are those of the whole. */
export interface Split extends Time {
  /** The time inside products. */
  readonly products: Time;
  readonly multiplyAdds: number;
}

/** The better of two runs by wall time, by parts; `run` does its products through the kernels that it is given. */
export async function timeSplit(kernels: Kernels, run: (kernels: Kernels) => unknown): Promise<Split> {
  const first = await split(kernels, run), second = await split(kernels, run);
  return second.seconds < first.seconds ? second : first;
}

/** The run at a size with `weights` times as many weights, whose products take `multiplyAdds`. */
export function extrapolate(
  { products, multiplyAdds: counted, ...whole }: Split,
  { multiplyAdds, weights }: { readonly multiplyAdds: number; readonly weights: number },
): Time {
  const grown = (key: keyof Time) => products[key] * (multiplyAdds / counted) + (whole[key] - products[key]) * weights;
  return { seconds: grown("seconds"), cpuSeconds: grown("cpuSeconds") };
}

async function split(kernels: Kernels, run: (kernels: Kernels) => unknown): Promise<Split> {
  const products = { seconds: 0, cpuSeconds: 0 };
  let multiplyAdds = 0;
  const counted = async <T>(size: number, product: () => Promise<T>): Promise<T> => {
    let result: T;
    const { seconds, cpuSeconds } = await once(async () => result = await product());
    products.seconds += seconds;
    products.cpuSeconds += cpuSeconds;
    multiplyAdds += size;
    return result!;
  };
  const metered: Kernels = {
    gemm: (...args) => counted(sizeOf(...args), () => kernels.gemm(...args)),
    gemm64: (...args) => counted(sizeOf(...args), () => kernels.gemm64(...args)),
    rows: (...args) => kernels.rows(...args),
  };
  const whole = await once(() => run(metered));
  return { ...whole, products, multiplyAdds };
}

function sizeOf(A: Matrix | Matrix64, B: Matrix | Matrix64, options?: GemmOptions<unknown>): number {
  const [m, n] = productShape(A, B, options);
  return m * n * (options?.transA ? A.rows : A.cols);
}

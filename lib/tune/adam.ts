/** Adam (arXiv 1412.6980) over an array in place, without decay. */

export interface AdamOptions {
  /** Step size before the schedule, in units of the numbers themselves. */
  readonly rate: number;
  readonly beta1: number;
  readonly beta2: number;
}

/** Keeps a square root from zero; far below any gradient that matters. */
const EPSILON = 1e-12;

/** An array with its two moments. */
export class Adam {
  readonly #m: Float32Array;
  readonly #v: Float32Array;

  constructor(readonly x: Float32Array, readonly options: AdamOptions) {
    this.#m = new Float32Array(x.length);
    this.#v = new Float32Array(x.length);
  }

  /** Moves x against the gradient; `factor` is that of the schedule, `count` the number of this step, from 1. */
  step(gradient: Float32Array, { factor, count }: { readonly factor: number; readonly count: number }): void {
    const { rate, beta1, beta2 } = this.options, x = this.x, m = this.#m, v = this.#v;
    const size = factor * rate / (1 - beta1 ** count), correction = 1 / (1 - beta2 ** count);
    const toward1 = 1 - beta1, toward2 = 1 - beta2;
    for (let i = 0; i < m.length; i++) {
      const g = gradient[i];
      m[i] += toward1 * (g - m[i]);
      v[i] += toward2 * (g * g - v[i]);
      x[i] -= size * m[i] / (Math.sqrt(v[i] * correction) + EPSILON);
    }
  }

  /** The numbers and their moments by name: live arrays, to save or to copy into. */
  *arrays(name: string): Iterable<[name: string, array: Float32Array]> {
    yield [name, this.x];
    yield [`${name}.m`, this.#m];
    yield [`${name}.v`, this.#v];
  }
}

/** Mean absolute value: what rates are relative to. */
export function meanSize(x: Float32Array): number {
  let sum = 0;
  for (const value of x) sum += Math.abs(value);
  return sum / x.length;
}

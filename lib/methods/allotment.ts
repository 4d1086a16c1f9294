/** Planes that are given to groups by name of the linear: what an allocation ends in, and what a method then takes as `bits`. */
import { rng } from "../tensor/rng.ts";

/** Planes of each group. Plain data: it may be stored as JSON and read again. */
export interface Allotment {
  /** Canonical, derived from the orders: part of a method's name. */
  readonly name: string;
  /** Planes of each group in column order, by name of the linear. */
  readonly orders: Readonly<Record<string, readonly number[]>>;
}

/**
 * Planes of each group by name of the linear, as a value for `bits`. `label` begins its name, and a digest of the orders ends it.
 *
 * @example
 * ```ts
 * import { allotment, levels, loadModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * // One plane for what reads the residual stream, two for what writes to it; groups of 128 columns.
 * const given = model.linearNames().map(({ name, linear, shape: [, columns] }) =>
 *   [name, new Array(Math.ceil(columns / 128)).fill(/^(o|down)$/.test(linear) ? 2 : 1)] as const
 * );
 * const method = levels({ bits: allotment(Object.fromEntries(given)), group: 128 });
 * ```
 */
export function allotment(orders: Allotment["orders"], label = "orders"): Allotment {
  const text = JSON.stringify(Object.entries(orders).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0));
  return { name: `${label}-${rng(text).int(2 ** 32).toString(16).padStart(8, "0")}`, orders };
}

/** Throws `RangeError` unless every group has a whole number of planes from 1 to `most`. */
export function checkAllotment({ orders }: Allotment, { method, most }: { method: string; most: number }): void {
  for (const [name, own] of Object.entries(orders)) {
    const group = own.findIndex((k) => !(Number.isInteger(k) && k >= 1 && k <= most));
    if (group >= 0) {
      throw new RangeError(
        `Cannot make ${method}: group ${group} of "${name}" is given ${
          own[group]
        } bits, wanted an integer from 1 to ${most}`,
      );
    }
  }
}

/** Planes of so many groups with a mean of `average`, as evenly as whole planes allow. */
export function evenOrders(count: number, average: number): number[] {
  const upTo = (b: number) => Math.floor(b * average + 1e-9);
  return Array.from({ length: count }, (_, b) => upTo(b + 1) - upTo(b));
}

/** Mean planes of the groups of an allotment. */
export function meanOrder({ orders }: Allotment): number {
  const all = Object.values(orders).flat();
  return all.reduce((sum, k) => sum + k, 0) / all.length;
}

/** Which arithmetic a linear takes from its stored form to its outputs. */
import { blockOrders } from "../quant/forms/grouped.ts";
import { widthsOf } from "../quant/forms/mixed.ts";
import type { QuantizedLinear } from "../quant/method.ts";

export interface Route {
  /** Checkpoint name of the matrix. */
  readonly name: string;
  /**
   * `native`: the codes of `uniform` and `levels` as they are, one product. `exact`: the planes of `binary`, one product each. `mixed`: `levels` with
   * blocks of several orders and `mixed`, one product per width of codes, each over its own columns. `dense`: float32, since nothing is stored packed, or in a
   * form that no kernel reads.
   */
  readonly route: "native" | "mixed" | "exact" | "dense";
  readonly reason: string;
}

/**
 * Tokens up to which a block runs packed although its float32 weights are held. Measured per 4096 x 4096 product on one core, one plane against float32
 * (ms): 0.2 : 2.2 at 1 token, 0.8 : 4.4 at 8, 2.9 : 7.9 at 32, 11 : 21 at 128, 45 : 79 at 512. So two planes are level with float32 at 128 tokens and an
 * eighth slower at 512, which is not worth eight times the memory; three lose from about 64 on.
 */
export const PACKED_UP_TO = 64;

/** Products over the whole matrix that a linear costs: planes of `binary`, weighted by the columns of their blocks; one for other forms. */
export function meanPlanes(q: QuantizedLinear | undefined): number {
  if (q?.format !== "binary") return 1;
  const orders = blockOrders(q), group = Number(q.config.group), cols = q.shape[1];
  return orders.reduce((sum, order, b) => sum + order * Math.min(group, cols - b * group), 0) / cols;
}

/** Whether a kernel reads a stored form as it is; others run as the weights that they decode to. */
export const runsFromCodes = ({ format }: QuantizedLinear): boolean =>
  ["uniform", "binary", "levels", "mixed"].includes(format);

/** The route of a matrix; `q` is its stored form, if it has one. */
export function routeOf(name: string, q: QuantizedLinear | undefined): Route {
  if (!q) return { name, route: "dense", reason: "stored in full precision" };
  if (!runsFromCodes(q)) return { name, route: "dense", reason: `no kernel reads the form "${q.format}": decoded` };
  if (q.format === "mixed") {
    const widths = [...new Set(widthsOf(q))].sort().join(", ");
    return { name, route: "mixed", reason: `uniform codes of ${widths} bits, split by columns` };
  }
  if (q.format === "uniform") return { name, route: "native", reason: `uniform codes of ${q.config.bits} bits` };
  const orders = [...new Set(blockOrders(q))].sort();
  if (q.format === "binary") return { name, route: "exact", reason: `sign planes: ${orders.join(", ")} per block` };
  return orders.length === 1
    ? { name, route: "native", reason: `levels of ${orders[0]} bits` }
    : { name, route: "mixed", reason: `levels of ${orders.join(", ")} bits, split by columns` };
}

/** How the column blocks of the forms `binary` and `levels` are shared out among terms, and what their codes and scales become there. */
import type { Run } from "./kernel.ts";

/** A column block: where its parts stand in the stored tensors. */
export interface StoredBlock extends Run {
  readonly order: number;
  /** Its codes start at this byte. */
  readonly byte: number;
  /** Its first row of row scales. */
  readonly plane: number;
  /** Its first column scale. */
  readonly scale: number;
}

/** One term of a block-wise form: which blocks it reads, and how codes and scales enter. */
export interface Part {
  readonly blocks: readonly StoredBlock[];
  readonly bits: 2 | 4;
  /** Factor on row scales. */
  readonly factor: number;
  /** Added to the block's first row and column scale: the plane. */
  readonly plane: number;
  /** What a stored code of so many bits becomes. */
  map(code: number, order: number): number;
  readonly shifted?: boolean;
}

/** The orders that terms are made for. A block of any other order is refused, since one that no term reads would count as zeros. */
const ORDERS: readonly number[] = [1, 2, 3, 4];

/** Form `binary`: one term per sign plane, codes one above and below the zero point. Throws `RangeError` for an order beyond 4. */
export function planeParts(name: string, blocks: readonly StoredBlock[], narrow: boolean): Part[] {
  checkOrders(name, blocks);
  const bits = narrow ? 2 : 4, zero = 1 << (bits - 1);
  return ORDERS.map((order): Part => ({
    blocks: blocks.filter((b) => b.order >= order),
    bits,
    factor: 1,
    plane: order - 1,
    map: (code) => zero + ((code >> (order - 1)) & 1 ? 1 : -1),
  })).filter((part) => part.blocks.length > 0);
}

/**
 * Form `levels`: one term per number of bits K, levels 2 q - (2^K - 1) above the zero point. Where K is all the bits that the term has, those do not fit:
 * a (2 q - (2^K - 1)) is then taken as 2 a (q - 2^(K - 1)) + a. Throws `RangeError` for an order beyond 4.
 */
export function levelParts(name: string, blocks: readonly StoredBlock[], narrow: boolean): Part[] {
  checkOrders(name, blocks);
  return ORDERS.map((order): Part => {
    const chosen = blocks.filter((b) => b.order === order);
    const bits = narrow && order <= 2 ? 2 : 4, zero = 1 << (bits - 1);
    if (order === bits) return { blocks: chosen, bits, factor: 2, plane: 0, map: (code) => code, shifted: true };
    return { blocks: chosen, bits, factor: 1, plane: 0, map: (code) => zero + 2 * code - (2 ** order - 1) };
  }).filter((part) => part.blocks.length > 0);
}

function checkOrders(name: string, blocks: readonly StoredBlock[]): void {
  const unknown = blocks.find(({ order }) => !ORDERS.includes(order));
  if (!unknown) return;
  throw new RangeError(
    `Cannot run "${name}" packed: its block at column ${unknown.from} is of order ${unknown.order}, wanted ` +
      `${ORDERS.join(", ")}; run it dense`,
  );
}

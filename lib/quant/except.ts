/** Methods for what a method leaves out: the embedding and the head, which are half of a model whose linears have 2 bits. */
import type { Method } from "./method.ts";

/** Methods of the two matrices outside the blocks; those without one stay as they are. Neither matrix has a second moment, so they must need none. */
export interface Outside {
  /** The embedding `[vocabulary, width]`; where the head is tied to it, for both. */
  readonly embed?: Method;
  /** The head `[vocabulary, width]`. */
  readonly head?: Method;
}

/** A method for the linears of the blocks that brings methods for the matrices outside. */
export interface ExceptMethod extends Method {
  readonly outside: Outside;
}

const PLACES = ["embed", "head"] as const;

/**
 * `method`, with others for the embedding and the head: `except(daq({ bits: 2, group: 128 }), { embed: rtn({ bits: 8, group: 128 }) })`, which is
 * called `daq-plus-2b-g128+embed:rtn-8b-g128`. Exceptions of exceptions add up.
 *
 * @throws TypeError when a place is unknown, is given twice, or is given a method that wants a second moment or brings exceptions itself.
 *
 * @example
 * ```ts
 * import { daq, except, rtn, scaled8 } from "quant-dllm";
 *
 * // Row scales and embedding in 8 bits, the head in 4.
 * const planes = scaled8(daq({ bits: 2, group: 128 }));
 * const method = except(planes, { embed: rtn({ bits: 8, group: 128 }), head: rtn({ bits: 4, group: 128 }) });
 * ```
 */
export function except(method: Method, outside: Outside): ExceptMethod {
  const held = outsideOf(method), joined: { -readonly [P in keyof Outside]: Outside[P] } = { ...held };
  for (const key of Object.keys(outside)) {
    if (!(PLACES as readonly string[]).includes(key)) {
      throw new TypeError(`Cannot except "${key}" from ${method.name}: wanted ${PLACES.join(" or ")}`);
    }
  }
  for (const place of PLACES) {
    const given = outside[place];
    if (!given) continue;
    if (held[place]) {
      throw new TypeError(`Cannot except ${place} from ${method.name} for ${given.name}: it is excepted already`);
    }
    if (given.needsHessian || given.across || "outside" in given) {
      throw new TypeError(
        `Cannot quantize ${place} with ${given.name}: it wants more than the weights, and ${place} has no second moment; ` +
          `give it a method like rtn`,
      );
    }
    joined[place] = given;
  }
  const { across } = method;
  return {
    ...method,
    name: method.name +
      PLACES.map((place) => outside[place] ? `+${place}:${outside[place].name}` : "").join(""),
    outside: joined,
    across: across && { score: across.score, bind: (scores) => except(across.bind(scores), outside) },
  };
}

/** The methods for matrices outside the blocks that a method brings; none for most. */
export function outsideOf(method: Method): Outside {
  return "outside" in method ? (method as ExceptMethod).outside : {};
}

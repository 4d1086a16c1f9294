/** A method whose quantised model is tuned as a whole once all of its linears are there. */
import type { Method } from "../quant/method.ts";
import { tunedName, type TuneOptions } from "./tune.ts";

/** A method that brings what is done with the model that it makes. */
export interface TunedMethod extends Method {
  readonly tuning: TuneOptions;
}

/**
 * `method`, and then `tune` with these options: `tuned(levels({ bits: 2, group: 128 }), { what: "codes", text, steps: 1500, seed: 1 })`, which is called
 * `daq-plus-levels-2b-g128+tuned:codes-1500`. What it stores has the form and the bits of `method`. It may be wrapped further, by `except` or `scaled8`.
 *
 * @throws TypeError for a method that is tuned already.
 */
export function tuned(method: Method, options: TuneOptions): TunedMethod {
  if (tuningOf(method)) throw new TypeError(`Cannot tune ${method.name}: it is tuned already`);
  return { ...method, name: tunedName(method.name, options), tuning: options };
}

/** How a method tunes the model that it makes; most do not. */
export function tuningOf(method: Method): TuneOptions | undefined {
  return "tuning" in method ? (method as TunedMethod).tuning : undefined;
}

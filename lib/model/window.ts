/** A block over a part of one sequence, whose positions attend to one another and to kept keys and values. */
import type { Graph, Value } from "../onnx/graph.ts";
import type { Feed } from "../runtime/runtime.ts";
import type { Architecture } from "./architecture.ts";
import { type AttendOptions, block, ropeTables, type Rotation } from "./block.ts";
import type { Hidden, Window } from "./hidden.ts";
import type { BlockParts } from "./parts.ts";

const width = (a: Architecture) => a.kvHeads * a.headSize;

/** Appends a block with the inputs pastK and pastV, and its own keys and values as the outputs ownK and ownV. */
export function windowBlock(
  g: Graph,
  a: Architecture,
  x: Value,
  parts: BlockParts,
  rotation: Rotation,
  { fused, values }: Pick<AttendOptions, "fused" | "values">,
): Value {
  const held = (name: string) => g.input(name, "float32", [x.shape[0], "past", width(a)]);
  const keep: AttendOptions["keep"] = ({ k, v }) => {
    g.output("ownK", k);
    g.output("ownV", v);
  };
  return block(g, a, x, parts, rotation, { fused, values, keep, past: { k: held("pastK"), v: held("pastV") } });
}

/** What `windowBlock` reads beside the weights. */
export function windowFeeds(
  a: Architecture,
  x: Hidden,
  { from, past }: Window,
  turns: Rotations,
): Record<string, Feed> {
  const dims = [x.batch, past.k.length / (x.batch * width(a)), width(a)];
  return {
    x: { dims: [x.batch, x.time, a.width], data: x.data },
    pastK: { dims, data: past.k },
    pastV: { dims, data: past.v },
    ...turns.feeds(from, x.time),
  };
}

/** RoPE tables of `time` positions as inputs. */
export function rotation(g: Graph, a: Architecture): Rotation {
  const table = (name: string) => g.input(name, "float32", ["time", a.headSize / 2]);
  return { cos: table("cos"), sin: table("sin") };
}

/** RoPE tables as feeds; they grow with the longest sequence so far. */
export class Rotations {
  #tables: ReturnType<typeof ropeTables>;

  constructor(readonly architecture: Architecture) {
    this.#tables = ropeTables(architecture, 0);
  }

  /** Of positions from .. from + time - 1. Throws `RangeError` beyond the model's longest sequence. */
  feeds(from: number, time: number): { cos: Feed; sin: Feed } {
    const { maxLength, headSize } = this.architecture, half = headSize / 2, end = from + time;
    if (end > maxLength) {
      throw new RangeError(`Cannot run ${end} tokens: the model's longest sequence is ${maxLength}`);
    }
    if (this.#tables.cos.length < end * half) this.#tables = ropeTables(this.architecture, end);
    const part = (table: Float32Array): Feed => ({
      dims: [time, half],
      data: table.subarray(from * half, end * half),
    });
    return { cos: part(this.#tables.cos), sin: part(this.#tables.sin) };
  }
}

/** What an allocation measures: the divergence of a quantised model from full precision, and what each unit alone would change of it. */
import type { Denoiser } from "../diffusion/denoiser.ts";
import { divergence } from "../diffusion/divergence.ts";
import type { MarkedText } from "../diffusion/text.ts";
import type { Allotment } from "../methods/allotment.ts";
import type { Hidden } from "../model/engine.ts";
import type { Model } from "../model/model.ts";
import { blockOrders, groupOf } from "../quant/forms/grouped.ts";
import type { Method, QuantizedLinear } from "../quant/method.ts";
import type { Singles } from "./search.ts";

/** Groups that change as one. */
export interface Unit {
  readonly linear: string;
  readonly groups: readonly number[];
  readonly weights: number;
}

/** The units of the linears of all blocks, in natural order. Throws `TypeError` where a stored form has no orders. */
export function unitsOf(model: Model, quantized: Model, unit: "group" | "linear"): Unit[] {
  return model.linearNames().flatMap(({ name, shape: [rows, cols] }) => {
    const q = quantized.quantized.get(name);
    if (!q?.tensors.orders) {
      throw new TypeError(
        `Cannot allocate with ${quantized.provenance.method}: "${name}" is stored without planes; use daq or levels`,
      );
    }
    const group = groupOf(q), groups = blockOrders(q).map((_, b) => b);
    if (unit === "linear") return [{ linear: name, groups, weights: rows * cols }];
    return groups.map((b) => ({ linear: name, groups: [b], weights: rows * Math.min(group, cols - b * group) }));
  });
}

/** Throws `TypeError` unless what is stored has the planes that were asked for. */
export function checkOrders({ quantized, provenance: { method } }: Model, orders: Allotment["orders"]): void {
  for (const [name, wanted] of Object.entries(orders)) {
    const found = blockOrders(quantized.get(name)!);
    if (found.join() === wanted.join()) continue;
    throw new TypeError(
      `Cannot allocate with ${method}: "${name}" has [${found}] planes where [${wanted}] were asked for; ` +
        `pass the argument of method on as bits`,
    );
  }
}

/** The text that decides, and the seed of its masks. */
interface JudgeOptions {
  readonly text: MarkedText;
  readonly seed: number;
  readonly signal?: AbortSignal;
}

type Judge = (student: Model) => Promise<number>;

/** The divergence from `model`, whose last states are kept: they are the same every time. */
export function judgeOf(model: Model, { text, seed, signal }: JudgeOptions): Judge {
  const states = new Map<string, Hidden>();
  const teacher: Denoiser = {
    maskId: model.maskId,
    vocabSize: model.vocabSize,
    firstPredicted: model.firstPredicted,
    async logits(tokens, { batch = 1, rows = Int32Array.from(tokens.keys()) } = {}) {
      const key = tokens.join();
      const x = states.get(key) ?? await model.lastStates(tokens, batch);
      states.set(key, x);
      return await model.forward.head(x, model.rowsBehind(rows, x.time));
    },
  };
  return async (student) => {
    signal?.throwIfAborted();
    const { forward, answers } = await divergence(teacher, student, { text, seed });
    return (forward + answers) / 2;
  };
}

interface SinglesInputs {
  readonly units: readonly Unit[];
  readonly orders: readonly number[];
  readonly least: number;
  readonly most: number;
  readonly method: (orders: readonly number[]) => Method;
  /** The model that a method makes. */
  readonly made: (method: Method) => Promise<Model>;
  readonly judge: Judge;
}

/**
 * The divergence after each single change. One walk makes the model and, where it comes by a linear, that linear with each of its units changed: on the
 * same second moment, and with all others as they are. It is not tuned: a single change is far less than what tuning moves.
 */
export async function measureSingles(inputs: SinglesInputs): Promise<Singles> {
  const { units, orders, least, most, method, made, judge } = inputs;
  const base = method(orders);
  const changed: { readonly unit: number; readonly by: 1 | -1; readonly q: QuantizedLinear }[] = [];
  const watched: Method = {
    name: base.name,
    needsHessian: base.needsHessian,
    outside: base.outside,
    async quantize(linear) {
      for (const [unit, { linear: name }] of units.entries()) {
        if (name !== linear.name) continue;
        for (const by of [-1, 1] as const) {
          const k = orders[unit] + by;
          if (k < least || k > most) continue;
          changed.push({ unit, by, q: await method(orders.with(unit, k)).quantize(linear) });
        }
      }
      return await base.quantize(linear);
    },
  };
  const student = await made(watched);
  const down = orders.map(() => Infinity), up = orders.map(() => Infinity);
  for (const { unit, by, q } of changed) {
    (by > 0 ? up : down)[unit] = await judge(student.with(new Map([[q.name, q]]), student.provenance));
  }
  return { loss: await judge(student), down, up };
}

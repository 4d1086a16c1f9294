/** Tiny models with linears of every stored form, and the two ways to run them: packed, and dense from what the forms decode to. */
import { linears, weightShape } from "../../lib/model/architecture.ts";
import type { Engine } from "../../lib/model/engine.ts";
import type { Config } from "../../lib/model/config.ts";
import { familyOf } from "../../lib/model/families/families.ts";
import type { Names } from "../../lib/model/families/family.ts";
import { DenseForward, type Forward, type RawLogits } from "../../lib/model/forward.ts";
import { QuantizedSource, StreamedWeights } from "../../lib/model/weights.ts";
import type { QuantizedLinear } from "../../lib/quant/method.ts";
import { randomBlocks, randomUniform } from "./layers.ts";
import { architectureOf, checkpointTensors, tinyWeights } from "../model/tiny.ts";

/** A stored linear; the form depends on `k`. Every sixth linear is none, so that it stays in full precision. */
function stored(k: number, rows: number, cols: number): QuantizedLinear | undefined {
  const shape = { rows, cols, group: 8, seed: k + 1, scale: 0.5 / Math.sqrt(cols) };
  const forms = [
    () => randomBlocks("levels", { ...shape, orders: [2] }),
    () => randomBlocks("binary", { ...shape, orders: [2, 1] }),
    () => randomUniform({ ...shape, bits: 3, symmetric: false }),
    () => randomBlocks("levels", { ...shape, orders: [1, 3, 2] }),
    () => randomUniform({ ...shape, bits: 2, symmetric: false, indexed: true }),
    () => undefined,
  ];
  return forms[k % forms.length]();
}

/** The weights of a tiny model with quantised linears, and an embedding and a head of 8 and 4 bits. */
export function packedSource(config: Config): { source: QuantizedSource; names: Names } {
  const a = architectureOf(config), { names } = familyOf(config, "config.json");
  const quantized = new Map<string, QuantizedLinear>();
  let k = 0;
  for (let layer = 0; layer < a.layers; layer++) {
    for (const linear of linears(a)) {
      const [rows, cols] = weightShape(a, linear), name = names.block(layer, linear), q = stored(k++, rows, cols);
      if (q) quantized.set(name, { ...q, name });
    }
  }
  const table = { rows: a.vocabSize, cols: a.width, group: a.width, symmetric: true };
  quantized.set(names.embed, randomUniform({ ...table, bits: 8, seed: 7, scale: 0.01 }));
  if (!a.tiedHead) quantized.set(names.head, randomUniform({ ...table, bits: 4, seed: 8, scale: 0.02 }));
  const tensors = checkpointTensors(config, tinyWeights(config));
  const read = (name: string) => new Float32Array(tensors[name].bytes.slice().buffer);
  const base = {
    readFloat: (name: string) => Promise.resolve(read(name)),
    readRows: (name: string, from: number, to: number) => {
      const cols = tensors[name].shape[1];
      return Promise.resolve(read(name).slice(from * cols, to * cols));
    },
  };
  return { source: new QuantizedSource(base, (name) => quantized.get(name)), names };
}

/** The model dense: what the stored forms decode to. */
export function denseForward(engine: Engine, { source, names }: { source: QuantizedSource; names: Names }): Forward {
  return new DenseForward(engine, new StreamedWeights(source, { names, architecture: engine.architecture }));
}

/** Logits of all positions, or of `rows`. */
export async function logits(
  forward: Forward,
  tokens: Int32Array,
  { layers, batch, rows }: { layers: number; batch: number; rows?: Int32Array },
): Promise<RawLogits> {
  let x = await forward.embed(tokens, batch);
  for (let layer = 0; layer < layers; layer++) x = await forward.block(layer, x);
  return await forward.head(x, rows);
}

/** Root mean square of the difference over that of what was wanted. */
export function relative(got: Float32Array, wanted: Float32Array): number {
  let error = 0, size = 0;
  wanted.forEach((w, i) => {
    error += (got[i] - w) ** 2;
    size += w ** 2;
  });
  return Math.sqrt(error / size);
}

/** The median over tokens of `relative`: rounded inputs may send a token to another expert, which changes that token entirely. */
export function typical(got: Float32Array, wanted: Float32Array, tokens: number): number {
  const width = wanted.length / tokens;
  const errors = Array.from({ length: tokens }, (_, t) => {
    const row = (x: Float32Array) => x.subarray(t * width, (t + 1) * width);
    return relative(row(got), row(wanted));
  });
  return errors.sort((a, b) => a - b)[tokens >> 1];
}

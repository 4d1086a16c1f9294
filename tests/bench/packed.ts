/**
 * One LLaDA-8B block with random weights, in float32 and from its stored codes: forward passes by number of tokens, loading, memory. Run by
 * `deno run -A --v8-flags=--expose-gc tests/bench/packed.ts`; arguments: numbers of tokens, and `cpu`.
 *
 * Times are the shortest of some runs taken in turns: neighbours on the cores only ever add to them. With `cpu` everything runs on one thread and the
 * table is in processor time, whose ratios hold on a busy machine too; bars of milliseconds and of loading are then not judged. Exits 1 when a bar is
 * missed.
 */
import process from "node:process";
import { encodeSafetensors, openSafetensors, type TensorBytes } from "../../lib/format/safetensors.ts";
import { type Architecture, blockWeights, linears, weightShape } from "../../lib/model/architecture.ts";
import { type BlockTensors, Engine, type Hidden } from "../../lib/model/engine.ts";
import { fileSource, writeFileAtomic } from "../../lib/checkpoint/files/file_source.ts";
import { PackedForward, type PackedOptions } from "../../lib/packed/forward.ts";
import { PACKED_UP_TO } from "../../lib/packed/route.ts";
import { StoredForms } from "../../lib/checkpoint/quantized_config.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { SessionHost } from "../../lib/runtime/session_host.ts";
import { QuantizedSource } from "../../lib/model/weights.ts";
import type { QuantizedLinear } from "../../lib/quant/method.ts";
import { storedBits } from "../../lib/quant/forms/decode.ts";
import { randomBlocks } from "../packed/layers.ts";
import { type Bar, judge, verdict } from "./report.ts";

const a: Architecture = {
  layers: 1,
  width: 4096,
  heads: 32,
  kvHeads: 32,
  headSize: 128,
  hidden: 12288,
  vocabSize: 126464,
  maxLength: 4096,
  epsilon: 1e-5,
  ropeTheta: 500000,
  maskId: 126336,
};
const names = {
  embed: "embed",
  finalNorm: "norm",
  head: "head",

  block: (layer: number, w: string) => `${layer}.${w}.weight`,
};
/** What llama.cpp takes for such a block with Q2_K on two cores of this class, ms, and the least ratio of fp32 to native. */
const bars: Readonly<Record<number, { ms: number; ratio: number }>> = {
  1: { ms: 3, ratio: 4 },
  8: { ms: 15, ratio: 4 },
  32: { ms: 45, ratio: 4 },
  128: { ms: 134, ratio: 2 },
  512: { ms: 438, ratio: 1.3 },
};
const asked = Deno.args.map(Number).filter((n) => n > 0);
const tokens = asked.length ? asked : Object.keys(bars).map(Number);

/** Stored linears of the block, by weight. */
function stored(form: "levels" | "binary", orders: readonly number[]): Map<string, QuantizedLinear> {
  return new Map(
    linears(a).map((name) => {
      const [rows, cols] = weightShape(a, name);
      return [name, randomBlocks(form, { rows, cols, group: 128, orders, scale: 0.3 / Math.sqrt(cols) })];
    }),
  );
}

function floats(): BlockTensors {
  return Object.fromEntries(
    blockWeights(a).map((name) => {
      const shape = weightShape(a, name), data = new Float32Array(shape.reduce((x, y) => x * y));
      let state = 1;
      for (let k = 0; k < data.length; k++) {
        state = (Math.imul(state, 1664525) + 1013904223) | 0;
        data[k] = shape.length === 1 ? 1 : state * 2 ** -31 / Math.sqrt(shape[1]);
      }
      return [name, data];
    }),
  );
}

const source = (q?: ReadonlyMap<string, QuantizedLinear>) => {
  const weight = (name: string) => name.split(".")[1];
  return new QuantizedSource({
    readFloat: (name) =>
      Promise.resolve(q ? new Float32Array(weightShape(a, weight(name))[0]).fill(1) : dense[weight(name)]),
    readRows: () => Promise.reject(new Error("Nothing reads rows here")),
  }, (name) => q?.get(weight(name)));
};

const rss = (): number => {
  (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage().rss / 1e6;
};
const milliseconds = async (run: () => Promise<unknown>): Promise<number> => {
  const start = clock();
  await run();
  return clock() - start;
};
const clock = (): number => {
  const { user, system } = process.cpuUsage();
  return onProcessor ? (user + system) / 1000 : performance.now();
};

interface Loading {
  readonly where: string;
  /** Stored bytes of a block / 10^6. */
  readonly megabytes: number;
  /** Milliseconds. */
  readonly perBlock: number;
  readonly perSecond: number;
  /** Megabytes. */
  readonly resident: number;
}

/** Blocks that are loaded to time loading. */
const BLOCKS = 8;

const onProcessor = Deno.args.includes("cpu");
await using runtime = await openRuntime({ device: "cpu", threads: onProcessor ? 1 : 0 });
await using engine = new Engine(runtime, a);
const forms = { native: stored("levels", [2]), exact: stored("binary", [2]), mixed: stored("levels", [2, 1, 2, 3]) };
const loading = await measureLoading(forms.native);
const dense = floats();
const packed = (q?: ReadonlyMap<string, QuantizedLinear>, options: PackedOptions = {}) =>
  new PackedForward(engine, source(q), names, options);
await using prepacked = packed();
await using native = packed(forms.native);
await using host = new SessionHost({ threads: onProcessor ? 1 : 0 });
await using hosted = packed(forms.native, { hosts: [host] });
await using float = packed(forms.native, { accuracyLevel: 0 });
await using exact = packed(forms.exact);
await using mixed = packed(forms.mixed);
const arms: Record<string, (x: Hidden) => Promise<Hidden>> = {
  fp32: (x) => engine.block(x, dense),
  prepacked: (x) => prepacked.block(0, x),
  native: (x) => native.block(0, x),
  "native on a host": (x) => hosted.block(0, x),
  "native, float inputs": (x) => float.block(0, x),
  exact: (x) => exact.block(0, x),
  "1 to 3 bits": (x) => mixed.block(0, x),
};
const rows: Record<string, number>[] = [];
for (const time of tokens) {
  const x: Hidden = { batch: 1, time, data: Float32Array.from({ length: time * a.width }, (_, i) => Math.sin(i * i)) };
  const best: Record<string, number> = {};
  for (let turn = 0; turn < (time <= 32 ? 21 : 9); turn++) {
    for (const [name, run] of Object.entries(arms)) {
      if (turn >= 5 && ["fp32", "native, float inputs", "1 to 3 bits"].includes(name) && time > 128) continue;
      best[name] = Math.min(best[name] ?? Infinity, await milliseconds(() => run(x)));
    }
  }
  rows.push({ tokens: time, ...best });
}
print();

function print(): void {
  const columns = Object.keys(arms);
  const judged: Bar[] = [];
  const word = (bar: Bar) => (judged.push(bar), verdict(bar));
  const wall = (bar: Bar) => onProcessor ? "not judged" : word(bar);
  console.error(["tokens", ...columns, "fp32 / native", "prepacked / native", "bars"].join(" | "));
  for (const row of rows) {
    const bar = bars[row.tokens];
    const ratio = row.fp32 / row.native;
    const what = (unit: string) => `${row.tokens} tokens, ${unit}`;
    const words = bar &&
      `${bar.ratio} x ${word({ what: what("fp32 / native"), found: ratio, atLeast: bar.ratio })}, ` +
        `${bar.ms} ms ${wall({ what: what("native, ms"), found: row.native, atMost: bar.ms })}`;
    const cells = [
      row.tokens,
      ...columns.map((c) => row[c].toFixed(1)),
      ratio.toFixed(2),
      (row.prepacked / row.native).toFixed(2),
    ];
    console.error([...cells, words ?? ""].join(" | "));
  }
  console.error(
    `routes: ${
      [native, exact, mixed, prepacked].map((f) => `${f.routes[0].route} (${f.routes[0].reason})`).join("; ")
    }`,
  );
  console.error(
    `auto: levels and one or two planes packed at every length; more planes than two up to ${PACKED_UP_TO} tokens, then float32 where it is held`,
  );
  for (const { where, megabytes, perBlock, perSecond, resident } of loading) {
    console.error(
      `loading ${where}: ${megabytes.toFixed(0)} MB per block from the page cache in ${perBlock.toFixed(0)} ms, ` +
        `${perSecond.toFixed(0)} MB/s (at least 500: ${
          wall({ what: `loading ${where}`, found: perSecond, atLeast: 500 })
        }); resident ${resident.toFixed(0)} MB`,
    );
  }
  console.log(JSON.stringify({ bench: "packed", rows, loading, missed: judge(judged) }));
}

/**
 * Writes the block as a packed checkpoint would be, then opens it as each of `BLOCKS` blocks, here and on two hosts: megabytes of stored bytes per
 * second, and what stays in memory per block.
 */
async function measureLoading(linears: ReadonlyMap<string, QuantizedLinear>): Promise<Loading[]> {
  const folder = await Deno.makeTempDir();
  try {
    const tensors: Record<string, TensorBytes> = {};
    const entries: Record<string, QuantizedLinear> = {};
    for (const [weight, q] of linears) {
      for (const [part, t] of Object.entries(q.tensors)) tensors[`${weight}.${part}`] = t;
      entries[`${weight}.weight`] = { ...q, tensors: {} };
    }
    const path = `${folder}/model.safetensors`;
    await writeFileAtomic(path, encodeSafetensors(tensors));
    const megabytes = [...linears.values()].reduce((sum, q) => sum + storedBits(q) / 8e6, 0);
    const file = await openSafetensors(await fileSource(path));
    const forms = new StoredForms(file, { quant_method: "quant-dllm", provenance: {}, linears: entries });
    const norm = new Float32Array(a.width).fill(1);
    const base = { readFloat: () => Promise.resolve(norm), readRows: () => Promise.resolve(norm) };
    const flat = { ...names, block: (_: number, weight: string) => `${weight}.weight` };
    await using many = new Engine(runtime, { ...a, layers: BLOCKS });
    await using one = new SessionHost({ threads: onProcessor ? 1 : 0 });
    await using two = new SessionHost({ threads: onProcessor ? 1 : 0 });
    const load = async (where: string, hosts?: readonly SessionHost[]): Promise<Loading> => {
      const before = rss();
      await using forward = new PackedForward(many, new QuantizedSource(base, (n) => forms.read(n)), flat, { hosts });
      const ms = await milliseconds(() => forward.open());
      return {
        where,
        megabytes,
        perBlock: ms / BLOCKS,
        perSecond: megabytes * BLOCKS / ms * 1000,
        resident: (rss() - before) / BLOCKS,
      };
    };
    const best = async (where: string, hosts?: readonly SessionHost[]): Promise<Loading> => {
      const loads: Loading[] = [];
      for (let turn = 0; turn < 4; turn++) loads.push(await load(where, hosts));
      // Memory is read off the first: what later ones take was freed by those before.
      return { ...loads.reduce((x, y) => x.perBlock < y.perBlock ? x : y), resident: loads[0].resident };
    };
    return [await best("on the calling thread"), await best("on two hosts", [one, two])];
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

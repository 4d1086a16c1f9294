/**
 * What kept keys and values win. On nano-llada, dense and from codes of 2 bits: new tokens per second and passes of an answer of 64 tokens, one token a step
 * and by a threshold, with each cache. On one LLaDA-8B block of random weights at 2 bits, from its codes: a span of 32 positions in a sequence of 1024 against
 * all of it. Run by `deno run -A tests/bench/decoding.ts`; with `block` or `nano` only that part.
 *
 * Arms take turns in one process, and the shortest time of each counts: ratios hold on a busy machine too. Exits 1 when a bar is missed.
 */
import { loadModel } from "../../lib/checkpoint/open.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { loadCorpus } from "../../lib/corpus/corpus.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { lladaSampler } from "../../lib/diffusion/samplers/llada.ts";
import { sample } from "../../lib/diffusion/samplers/sample.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import { type Architecture, linears, weightShape } from "../../lib/model/architecture.ts";
import { ModelCache } from "../../lib/model/cache.ts";
import { Engine } from "../../lib/model/engine.ts";
import type { Forward } from "../../lib/model/forward.ts";
import type { Model } from "../../lib/model/model.ts";
import { familyOf } from "../../lib/model/families/families.ts";
import { QuantizedSource } from "../../lib/model/weights.ts";
import { PackedForward } from "../../lib/packed/forward.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { randomBlocks } from "../packed/layers.ts";
import { type Bar, judge, verdict } from "./report.ts";
import { llada8b } from "./synthetic.ts";

const caches = ["none", "prefix", "dual"] as const;
const bars: Bar[] = [];
const parts = Deno.args.length > 0 ? Deno.args : ["nano", "block"];
const nano = parts.includes("nano") ? await measureNano() : undefined;
const block = parts.includes("block") ? await measureBlock() : undefined;
console.log(JSON.stringify({ bench: "decoding", nano, block, missed: judge(bars) }));

/** The shortest of some runs of each arm, in turns: milliseconds. */
async function shortest(
  arms: Readonly<Record<string, () => Promise<unknown>>>,
  turns: number,
): Promise<Record<string, number>> {
  const best: Record<string, number> = {};
  for (let turn = 0; turn < turns; turn++) {
    for (const [name, run] of Object.entries(arms)) {
      const start = performance.now();
      await run();
      best[name] = Math.min(best[name] ?? Infinity, performance.now() - start);
    }
  }
  return best;
}

async function measureNano() {
  const LENGTH = 64, folder = await Deno.makeTempDir();
  try {
    await using dense = await loadModel("data/nano-llada", { device: "cpu" });
    const text = (split: string, count: number) =>
      loadCorpus(`data/nanoworld/${split}.jsonl`, { tokenizer: dense.tokenizer, count, length: 64, seed: 1 });
    const calibration = simulateMasks(await text("calibration", 32), { maskId: dense.maskId, seed: 1 });
    await saveModel(await quantize(dense, levels({ bits: 2, group: 32 }), { calibration }), `${folder}/packed`);
    await using packed = await loadModel(`${folder}/packed`, { device: "cpu", run: "packed" });
    const prompt = (await text("validation", 1)).windows[0].subarray(0, 48), rows = [];
    for (const [name, model] of [["dense", dense], ["2 bits, packed", packed]] as [string, Model][]) {
      for (const rule of [{}, { threshold: 0.9 }]) {
        const passes: Record<string, number> = {};
        const arms = Object.fromEntries(caches.map((cache) => [cache, async () => {
          const sampler = lladaSampler({ block: 16, cache, ...rule });
          passes[cache] = (await sample(model, prompt, { length: LENGTH, seed: 1, sampler })).passes;
        }]));
        const ms = await shortest(arms, 5);
        const what = `nano-llada, ${name}, ${rule.threshold ? `threshold ${rule.threshold}` : "a token a step"}`;
        const cells = caches.map((cache) =>
          `${cache} ${(1000 * LENGTH / ms[cache]).toFixed(0)} tokens/s in ${passes[cache]} passes`
        );
        console.error(`${what}: ${cells.join(", ")}; none / dual ${(ms.none / ms.dual).toFixed(2)}`);
        rows.push({ what, ms, passes });
      }
    }
    return rows;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function measureBlock() {
  const TIME = 1024, SPAN = 32, config = llada8b(1), family = familyOf(config, "config.json");
  const a: Architecture = family.architecture(config, "config.json");
  const stored = new Map(
    linears(a).map((weight) => {
      const [rows, cols] = weightShape(a, weight);
      const shape = { rows, cols, group: 128, orders: [2], scale: 0.3 / Math.sqrt(cols) };
      return [family.names.block(0, weight), randomBlocks("levels", shape)];
    }),
  );
  const base = {
    readFloat: () => Promise.resolve(new Float32Array(a.width).fill(1)), // the norms: all else is stored
    readRows: () => Promise.reject(new Error("Nothing reads rows here")),
  };
  await using runtime = await openRuntime({ device: "cpu" });
  await using engine = new Engine(runtime, a);
  await using packed = new PackedForward(engine, new QuantizedSource(base, (name) => stored.get(name)), family.names);
  const states = Float32Array.from({ length: TIME * a.width }, (_, i) => Math.sin(i * i));
  const embed = (tokens: Int32Array) =>
    Promise.resolve({ batch: 1, time: tokens.length, data: states.subarray(0, tokens.length * a.width) });
  // The block alone: no embedding, no head.
  const forward: Forward = {
    embed,
    block: (layer, x) => packed.block(layer, x),
    window: (layer, x, window) => packed.window(layer, x, window),
    head: () => Promise.resolve({ shape: [0, a.vocabSize], data: new Float32Array(0) }),
    async [Symbol.asyncDispose]() {},
  };
  await using cache = new ModelCache({ architecture: a, firstPredicted: 0, forward, embed });
  const tokens = new Int32Array(TIME), rows = new Int32Array(0);
  const run = (from: number, to: number) => () => cache.run(tokens, { from, to, rows });
  await run(0, TIME)(); // opens the session, and keeps all
  const START = 512;
  const ms = await shortest({
    "all, nothing kept": async () => forward.block(0, await embed(tokens)),
    "all, and kept": run(0, TIME),
    "prefix: from position 512 on": run(START, TIME),
    "dual: 32 positions": run(START, START + SPAN),
  }, 5);
  const all = ms["all, nothing kept"];
  for (const [what, time] of Object.entries(ms)) {
    console.error(
      `one LLaDA-8B block, 2 bits, ${TIME} positions, ${what}: ${time.toFixed(1)} ms, ${(all / time).toFixed(1)} x`,
    );
  }
  // A span is begun by a pass over all; then, one token a pass, the rest of its passes are parts.
  const span = (part: string) => SPAN * all / (ms["all, and kept"] + (SPAN - 1) * ms[part]);
  const spans = {
    prefix: span("prefix: from position 512 on"),
    dual: span("dual: 32 positions"),
  };
  console.error(
    `a span of ${SPAN}, one token a pass: prefix ${spans.prefix.toFixed(1)} x, dual ${spans.dual.toFixed(1)} x`,
  );
  const bar: Bar = { what: "dual part against all", found: all / ms["dual: 32 positions"], atLeast: 8 };
  bars.push(bar);
  console.error(`32 positions at least 8 times as fast as 1024: ${verdict(bar)}`);
  return { ms, spans };
}

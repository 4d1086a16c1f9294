/**
 * One full-size LLaDA-8B block of random bf16 weights through the whole pipeline, calibration included: peak memory, the rate of forward passes and
 * second moments against onnxruntime's products alone, the solver's seconds, and the projection to the whole model. Exits 1 when a bar is missed.
 *
 *     deno run -A tests/bench/full_block.ts [official|plus|levels|gptq] [windows] [length] [--memory]
 */
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { openCheckpoint } from "../../lib/checkpoint/open.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import type { Method } from "../../lib/quant/method.ts";
import { matrix } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { type Bar, judge } from "./report.ts";
import { llada8b, residentMemory, writeSynthetic } from "./synthetic.ts";

const [profile = "official", count = "16", tokens = "512"] = Deno.args.filter((arg) => !arg.startsWith("--"));
/** With --memory, a slow or busy machine is no failure. */
const memoryOnly = Deno.args.includes("--memory");
const windows = Number(count), length = Number(tokens);
const group = 128;
const methods: Readonly<Record<string, Method>> = {
  official: daq({ bits: 2, group, profile: "official" }),
  plus: daq({ bits: 2, group, profile: "plus" }),
  levels: levels({ bits: 2, group }),
  gptq: gptq({ bits: 2, group }),
};
const solverBar: Readonly<Record<string, number>> = { official: 90, plus: 300 };
const MEMORY_BAR = 12e9;
const RATE_BAR = 0.6;

const folder = await Deno.makeTempDir();
try {
  await writeSynthetic(`${folder}/full`, llada8b(1));
  const checkpoint = await openCheckpoint(`${folder}/full`);
  const { architecture: a } = checkpoint;
  await using runtime = await openRuntime({ device: "cpu" });
  await using kernels = fastKernels(runtime);
  const r = rng(1, "tokens");
  const corpus = { windows: Array.from({ length: windows }, () => Int32Array.from({ length }, () => r.int(a.maskId))) };
  const calibration = simulateMasks(corpus, { maskId: a.maskId, seed: 1 });
  const batch = Math.max(1, Math.floor(4096 / length));

  // The rate of products alone: rows of activations times a weight matrix.
  const X = matrix(4096, 4096, Float32Array.from({ length: 2 ** 24 }, () => r.next() - 0.5));
  const rate = async () => {
    const start = performance.now();
    await kernels.gemm(X, X, { transB: true });
    return 2 * 4096 ** 3 / (performance.now() - start) / 1e6;
  };
  await rate();
  const before = Math.max(await rate(), await rate());

  const method = methods[profile];
  let solver = 0;
  const timed: Method = {
    ...method,
    async quantize(input) {
      const start = performance.now();
      const q = await method.quantize(input);
      const seconds = (performance.now() - start) / 1000;
      solver += seconds;
      console.error(
        `  ${input.name.padEnd(46)} ${seconds.toFixed(1)} s   resident ${gigabytes(residentMemory().now)}`,
      );
      return q;
    },
  };
  const options = { out: `${folder}/packed`, calibration, seed: 1, kernels, batch, device: "cpu" } as const;
  const plan = await (async () => {
    await using planned = await openQuantization(checkpoint, method, options);
    return await planned.plan();
  })();
  await using quantization = await openQuantization(checkpoint, timed, options);
  const { model, model: { engine } } = quantization;

  // What is counted: products that a block cannot do without. Second moments by their triangle where only that is computed.
  const all = windows * length;
  const linear = 4096 * 4096 * 4 + 3 * 4096 * 12288;
  const meters = { milliseconds: 0, operations: 0 };
  const parts = new Map<string, { milliseconds: number; operations: number }>();
  const counted = <A extends unknown[], R>(run: (...args: A) => Promise<R>, operations: (...args: A) => number) => {
    return async (...args: A): Promise<R> => {
      const start = performance.now();
      const result = await run.apply(engine, args);
      const last = args.at(-1) as { stage?: string };
      const name = run.name === "stageInput" ? `stageInput ${last.stage}` : run.name;
      const part = parts.get(name) ?? { milliseconds: 0, operations: 0 };
      parts.set(name, part);
      for (const m of [meters, part]) {
        m.milliseconds += performance.now() - start;
        m.operations += operations(...args);
      }
      return result;
    };
  };
  const attentionOperations = 4 * length * 4096;
  const stageOperations = {
    qkv: 0,
    out: 3 * 2 * 4096 ** 2 + attentionOperations,
    gateUp: 0,
    down: 2 * 2 * 4096 * 12288,
  };
  engine.stageInput = counted(engine.stageInput, (x, _w, { stage }) => x.batch * x.time * stageOperations[stage]);
  engine.attend = counted(engine.attend, (x) => x.batch * x.time * (4 * 2 * 4096 ** 2 + attentionOperations));
  engine.feedForward = counted(engine.feedForward, (x) => x.batch * x.time * 3 * 2 * 4096 * 12288);
  engine.addSecondMoment = counted(engine.addSecondMoment, (X, H) => {
    const panels = Math.ceil(H.cols / 2048);
    return X.length * H.cols * (panels + 1) / panels;
  });

  const start = performance.now();
  const summary = await quantization.run();
  // Behind its last block a model's states do not go on; behind any other they do.
  const block = await model.weights.block(0);
  for (let from = 0; from < windows; from += batch) {
    const some = corpus.windows.slice(from, from + batch);
    await engine.feedForward(await model.embed(Int32Array.from(some.flatMap((w) => [...w])), some.length), block);
  }
  const seconds = (performance.now() - start) / 1000;
  const alone = Math.max(before, await rate(), await rate());
  const achieved = meters.operations / meters.milliseconds / 1e6;
  const peak = residentMemory().peak;
  const paper = 128 * 4096;
  const calibrationSeconds = (meters.milliseconds / 1000) * paper / all;
  for (const [name, { milliseconds, operations }] of parts) {
    console.error(
      `  ${name.padEnd(25)} ${(milliseconds / 1000).toFixed(1)} s, ${
        (operations / milliseconds / 1e6).toFixed(0)
      } GFLOPS`,
    );
  }
  console.error(`${method.name}, ${windows} windows of ${length} tokens, ${(linear / 1e6).toFixed(0)} M weights`);
  console.error(`  products alone            ${alone.toFixed(0)} GFLOPS`);
  console.error(
    `  forward, second moments   ${achieved.toFixed(0)} GFLOPS, ${(100 * achieved / alone).toFixed(0)} % of it (bar ${
      100 * RATE_BAR
    } %)`,
  );
  console.error(
    `  solver, seven linears     ${solver.toFixed(1)} s (bar ${solverBar[profile] ?? "none"}); the plan said ${
      plan.secondsPerBlock.solver.toFixed(0)
    } s`,
  );
  console.error(
    `  peak resident memory      ${gigabytes(peak)} (bar ${gigabytes(MEMORY_BAR)}); the plan said ${
      gigabytes(plan.memoryBytes)
    }`,
  );
  console.error(
    `  all of it                 ${seconds.toFixed(0)} s, ${summary.bitsPerWeight.toFixed(4)} bits per weight`,
  );
  console.error(
    `  projection, 32 blocks, 128 x 4096 tokens: ${
      ((32 * (calibrationSeconds + solver)) / 3600).toFixed(1)
    } h, solver ${(32 * solver / 60).toFixed(0)} min of it`,
  );
  const speed: Bar[] = [
    { what: "rate", found: achieved, atLeast: RATE_BAR * alone },
    { what: "solver", found: solver, atMost: solverBar[profile] },
  ];
  const missed = judge([...(memoryOnly ? [] : speed), { what: "memory", found: peak, atMost: MEMORY_BAR }]);
  console.log(
    JSON.stringify({ bench: "full block", method: method.name, alone, achieved, solver, peak, seconds, missed }),
  );
} finally {
  await Deno.remove(folder, { recursive: true });
}

function gigabytes(bytes = NaN): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

/** Quantises a checkpoint, a folder or an id of the Hugging Face Hub, into a packed one: see `deno task quantize --help`. */
import {
  abmp,
  daq,
  type Device,
  except,
  gptq,
  levels,
  loadCorpus,
  type Method,
  type Model,
  openCheckpoint,
  openQuantization,
  type Plan,
  planText,
  rtn,
  samplerOf,
  samplerStates,
  scaled8,
  simulateMasks,
  visible,
} from "quant-dllm";
import { downloadMeter, interruptSignal, main, meter, positiveInteger, readOptions } from "./cli.ts";

/** Calibrations by name. `paper` is that of Quant-dLLM; `laptop` fits an evening on a few cores. */
const presets: Readonly<Record<string, { calibration: string; windows: number; length: number }>> = {
  paper: { calibration: "c4", windows: 128, length: 4096 },
  laptop: { calibration: "wikitext", windows: 32, length: 1024 },
};

const options = readOptions(
  "deno task quantize MODEL --out DIR [options]      MODEL: a folder, or org/name on the Hub",
  {
    out: { help: "folder for the packed checkpoint; a run that was stopped goes on there" },
    method: {
      default: "quant-dllm",
      help: "quant-dllm (the plus profile), quant-dllm-official, quant-dllm-paper, levels, gptq, rtn",
    },
    bits: { default: "2", help: "bits per weight: planes for quant-dllm" },
    group: {
      default: "auto",
      help: "columns that share scales; auto: 128 (levels: 64), or 32 for models narrower than 1024",
    },
    abmp: { default: "0", help: "share of blocks that gain and lose a plane, 0 to 0.5 (quant-dllm and levels)" },
    "row-scale-bits": { default: "16", help: "16, or 8 for row scales in one byte (quant-dllm and levels)" },
    "embed-bits": { default: "16", help: "bits of the embedding: 16 leaves it as it is, 8 or 4" },
    "head-bits": { default: "16", help: "bits of the head: 16 leaves it as it is, 8 or 4" },
    preset: { default: "laptop", help: "calibration: laptop (wikitext, 32 x 1024) or paper (c4, 128 x 4096)" },
    calibration: {
      default: "preset",
      help: "c4, wikitext, sampler (the model's own states over wikitext), .txt, .jsonl",
    },
    windows: { default: "preset", help: "calibration windows" },
    length: { default: "preset", help: "tokens per window" },
    "held-out": { default: "4", help: "further windows on which errors are measured, not calibrated" },
    batch: { default: "auto", help: "windows per forward pass; auto: about 4096 tokens" },
    mcs: { default: true, help: "mask the calibration windows as at inference (--no-mcs: visible text)" },
    seed: { default: "1", help: "of the windows and their masks" },
    revision: { default: "main", help: "branch, tag or commit on the Hub" },
    device: { default: "auto", help: "auto, cpu, webgpu or cuda" },
    plan: { default: false, help: "show what it would take, and stop" },
  },
  1,
);

await main(async () => {
  const preset = presets[options.preset];
  if (!preset) throw new RangeError(`--preset is ${options.preset}, wanted ${Object.keys(presets).join(" or ")}`);
  const signal = interruptSignal();
  const checkpoint = await openCheckpoint(options._[0], {
    revision: options.revision === "main" ? undefined : options.revision,
    onProgress: downloadMeter(),
    signal,
  });
  const { source, architecture } = checkpoint;
  const method = methodOf(architecture.width);
  const number = (name: "windows" | "length") =>
    options[name] === "preset" ? preset[name] : positiveInteger(name, options[name]);
  const length = Math.min(number("length"), architecture.maxLength);
  const heldOut = method.needsHessian ? count("held-out") : 0;
  const windows = method.needsHessian ? number("windows") + heldOut : 0;
  const batch = options.batch === "auto"
    ? Math.max(1, Math.floor(4096 / length))
    : positiveInteger("batch", options.batch);
  const seed = count("seed");
  const text = options.calibration === "preset" ? preset.calibration : options.calibration;
  const data = windows > 0 ? `${windows - heldOut} windows of ${length} tokens from ${text}` : "no calibration data";
  const show = (plan: Plan) => console.error(`${source.name}: ${method.name}, ${data}\n${planText(plan)}\n`);

  let progress: ReturnType<typeof meter> | undefined;
  await using quantization = await openQuantization(checkpoint, method, {
    out: options.out,
    calibration: windows > 0 ? { windows, length, draw: calibrationOf } : undefined,
    text: windows > 0 ? text : undefined,
    seed,
    batch,
    heldOut,
    device: options.device as Device,
    signal,
    onPlan(plan) {
      show(plan);
      progress = meter(method.name, plan.linears, "linears");
    },
    onProgress: (done, _total, { name, relativeError }, resumed) =>
      progress?.update(
        done,
        `${name}${
          resumed ? " (done before)" : relativeError === undefined ? "" : ` error ${relativeError.toFixed(4)}`
        }`,
      ),
  });
  if (options.plan) {
    const plan = await quantization.plan();
    show(plan);
    return console.log(JSON.stringify({ method: method.name, ...plan }));
  }
  const summary = await quantization.run();
  progress?.finish();
  const { bitsPerWeight, bitsPerParameter, bytes } = summary;
  console.error(
    `${options.out}: ${bitsPerWeight.toFixed(4)} bits per weight in the blocks, ${
      bitsPerParameter.toFixed(4)
    } over all, ${bytes} bytes`,
  );
  console.log(JSON.stringify({ out: options.out, method: method.name, ...summary }));

  async function calibrationOf(model: Model) {
    const draw = { tokenizer: model.tokenizer, count: windows, length, seed, signal };
    if (text === "sampler") {
      return await samplerStates(model, await loadCorpus("wikitext", draw), {
        seed,
        signal,
        sampler: samplerOf(model),
      });
    }
    const corpus = await loadCorpus(text, draw);
    if (!options.mcs) return visible(corpus);
    // Timesteps run over the windows: those held out get a sweep of their own, else they would all be of the last ones.
    const [used, rest] = [corpus.windows.slice(0, windows - heldOut), corpus.windows.slice(windows - heldOut)];
    const masked = simulateMasks({ windows: used }, { maskId: model.maskId, seed });
    if (heldOut === 0) return masked;
    const kept = simulateMasks({ windows: rest }, { maskId: model.maskId, seed: seed + 1 });
    const joined = {
      windows: [...masked.windows, ...kept.windows],
      timesteps: [...masked.timesteps, ...kept.timesteps],
    };
    return { ...masked, ...joined };
  }
});

/** A non-negative integer option. */
function count(name: "held-out" | "seed"): number {
  return options[name] === "0" ? 0 : positiveInteger(name, options[name]);
}

function methodOf(width: number): Method {
  // Levels have one row scale where planes have two: groups of half the width take the same bits.
  const wide = options.method === "levels" ? 64 : 128;
  const group = options.group === "auto" ? width < 1024 ? 32 : wide : positiveInteger("group", options.group);
  const outside = (name: "embed-bits" | "head-bits") => {
    const bits = Number(options[name]);
    if (![4, 8, 16].includes(bits)) throw new RangeError(`--${name} is ${options[name]}, wanted 16, 8 or 4`);
    return bits === 16 ? undefined : rtn({ bits, group });
  };
  const method = linearMethod(group);
  const [embed, head] = [outside("embed-bits"), outside("head-bits")];
  return embed || head ? except(method, { ...(embed ? { embed } : {}), ...(head ? { head } : {}) }) : method;
}

function linearMethod(group: number): Method {
  const bits = Number(options.bits);
  const share = Number(options.abmp);
  const planes = share > 0 ? abmp({ average: bits, ratio: share }) : bits;
  const scaled = (method: Method): Method => {
    if (options["row-scale-bits"] === "16") return method;
    if (options["row-scale-bits"] === "8") return scaled8(method);
    throw new RangeError(`--row-scale-bits is ${options["row-scale-bits"]}, wanted 16 or 8`);
  };
  switch (options.method) {
    case "quant-dllm":
      return scaled(daq({ bits: planes, group, profile: "plus" }));
    case "quant-dllm-official":
      return scaled(daq({ bits: planes, group, profile: "official" }));
    case "quant-dllm-paper":
      return scaled(daq({ bits: planes, group, profile: "paper" }));
    case "levels":
      return scaled(levels({ bits: planes, group }));
    case "gptq":
      return gptq({ bits, group });
    case "rtn":
      return rtn({ bits, group });
  }
  const known = "quant-dllm, quant-dllm-official, quant-dllm-paper, levels, gptq or rtn";
  throw new RangeError(`Unknown method ${options.method}: wanted ${known}`);
}

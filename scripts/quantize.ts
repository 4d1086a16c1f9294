/** Quantises a checkpoint, a folder or an id of the Hugging Face Hub, into a packed one: see `deno task quantize --help`. */
import {
  type Checkpoint,
  checkText,
  type Device,
  openCheckpoint,
  openQuantization,
  type Plan,
  planText,
  tuned,
  type TuneProgress,
} from "quant-dllm";
import {
  checkpointOptions,
  count,
  deviceOption,
  interruptSignal,
  isGiven,
  main,
  meter,
  number,
  oneOf,
  openOptions,
  readOptions,
  refuse,
  seedOption,
  standWhereUserStands,
  whole,
} from "./cli.ts";
import { checkMethodOptions, methodOf, methodOptions } from "./methods.ts";
import { calibrationOf, checkTestbed, presets, testbedPreset, tuningTextOf } from "./texts.ts";

const options = readOptions(
  "deno task quantize MODEL --out DIR [options]      MODEL: a folder, or org/name on the Hub",
  {
    out: { help: "folder for the packed checkpoint; a run that was stopped goes on there" },
    ...methodOptions,
    preset: {
      default: "laptop",
      help: "calibration and tuning: laptop (wikitext, 32 x 1024), gpu (c4, 128 x 2048) or paper (c4, 128 x 4096)",
      check: oneOf(...Object.keys(presets)),
    },
    calibration: {
      default: "preset",
      help: "c4, wikitext, sampler (the model's own states over wikitext), nanoworld (the testbed), .txt, .jsonl",
    },
    windows: { default: "preset", help: "calibration windows", check: count("preset") },
    length: { default: "preset", help: "tokens per window", check: count("preset") },
    "held-out": {
      default: "4",
      help: "further windows on which errors are measured, not calibrated",
      check: whole(),
    },
    batch: { default: "auto", help: "windows per forward pass; auto: about 4096 tokens", check: count("auto") },
    mcs: { default: true, help: "mask the calibration windows as at inference (--no-mcs: visible text)" },
    tune: {
      default: "off",
      help: "then move what is stored towards full precision: scales, codes, or off",
      check: oneOf("off", "scales", "codes"),
    },
    "tune-by": {
      default: "auto",
      help: "model (predictions), block (states); auto: model up to 4 GiB of float32",
      check: oneOf("auto", "model", "block"),
    },
    "tune-steps": {
      default: "auto",
      help: "steps; auto: 1500 by model, 200 a block by block; with --preset gpu 3000 and 800",
      check: count("auto"),
    },
    "tune-batch": { default: "auto", help: "windows per step; auto: about 2048 tokens", check: count("auto") },
    "tune-windows": {
      default: "512",
      help: "windows that the steps draw from (nanoworld has no end)",
      check: count(),
    },
    "tune-hidden": {
      default: "0",
      help: "weight of the error of hidden states beside the KL, by model",
      check: number(),
    },
    seed: seedOption("of the windows and their masks"),
    ...checkpointOptions,
    device: deviceOption,
    plan: { default: false, help: "show what it would take, and stop" },
  },
  1,
);

await main(async () => {
  if (options.tune === "off") {
    const idle = Object.keys(options).find((name) => name.startsWith("tune-") && isGiven(name));
    if (idle) refuse(`--${idle} is for a tuning: say what moves, --tune scales or --tune codes`);
  }
  checkMethodOptions(options);
  standWhereUserStands();
  if (!["preset", "sampler", "nanoworld"].includes(options.calibration)) await checkText(options.calibration);
  const preset = options.calibration === "nanoworld" ? testbedPreset : presets[options.preset];
  const signal = interruptSignal();
  const checkpoint = await openCheckpoint(options._[0], openOptions(options, signal));
  const { source, architecture } = checkpoint;
  const plain = methodOf(options, architecture.width);
  const sized = (name: "windows" | "length") => options[name] === "preset" ? preset[name] : Number(options[name]);
  const longest = architecture.maxLength, length = Math.min(sized("length"), longest);
  if (options.length !== "preset" && length < sized("length")) {
    refuse(`--length is ${options.length}, but ${source.name} reads ${longest} tokens at most`);
  }
  const heldOut = plain.needsHessian ? Number(options["held-out"]) : 0;
  const windows = plain.needsHessian ? sized("windows") + heldOut : 0;
  const batch = options.batch === "auto" ? Math.max(1, Math.floor(4096 / length)) : Number(options.batch);
  const seed = Number(options.seed);
  const text = options.calibration === "preset" ? preset.calibration : options.calibration;
  const cut = { from: text, length, seed, signal };
  if (text === "nanoworld") checkTestbed(checkpoint);
  const { method, onTuned } = await withTuning();
  const data = windows > 0 ? `${windows - heldOut} windows of ${length} tokens from ${text}` : "no calibration data";
  const show = (plan: Plan) => console.error(`${source.name}: ${method.name}, ${data}\n${planText(plan)}\n`);

  const drawn = { windows, heldOut, mcs: options.mcs, trajectory: options.method === "dllmquant" };
  let progress: ReturnType<typeof meter> | undefined;
  await using quantization = await openQuantization(checkpoint, method, {
    out: options.out,
    calibration: windows > 0 ? { windows, length, draw: (model) => calibrationOf(model, cut, drawn) } : undefined,
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
  onTuned?.();
  const { bitsPerWeight, bitsPerParameter, bytes } = summary;
  console.error(
    `${options.out}: ${bitsPerWeight.toFixed(4)} bits per weight in the blocks, ${
      bitsPerParameter.toFixed(4)
    } over all, ${bytes} bytes`,
  );
  console.log(JSON.stringify({ out: options.out, method: method.name, ...summary }));

  /** The method, tuned where that was asked for; `onTuned` ends the meter. */
  async function withTuning(): Promise<{ method: typeof plain; onTuned?: () => void }> {
    const { tune: what } = options;
    if (what === "off") return { method: plain };
    const auto = isSmall(checkpoint) ? "model" : "block";
    const by = options["tune-by"] === "auto" ? auto : options["tune-by"] as typeof auto;
    const typed = (name: "tune-steps" | "tune-batch", auto: number) =>
      options[name] === "auto" ? auto : Number(options[name]);
    const steps = typed("tune-steps", presets[options.preset].steps[by]);
    const batch = typed("tune-batch", Math.max(1, Math.floor(2048 / length)));
    const hidden = Number(options["tune-hidden"]);
    if (hidden !== 0 && by === "block") {
      refuse("--tune-hidden is for --tune-by model: by block, states are all that counts");
    }
    const { text, judge } = await tuningTextOf(checkpoint, cut, {
      batch,
      windows: Number(options["tune-windows"]),
    });
    let tuning: ReturnType<typeof meter> | undefined;
    const onProgress = ({ step, steps, kl, hidden, heldOut }: TuneProgress) => {
      progress?.finish();
      progress = undefined;
      tuning ??= meter("tuning", steps, "steps", step - 1);
      const parts = [["KL", kl], ["hidden", hidden], ["held out", heldOut?.forward], [
        "answers",
        heldOut?.answers,
      ]] as const;
      tuning.update(step, parts.flatMap(([name, x]) => x === undefined ? [] : `${name} ${x.toFixed(4)}`).join(", "));
    };
    const method = tuned(plain, {
      ...{ what: what as "scales" | "codes", by, text, steps, onProgress },
      // Few steps want larger ones.
      ...(what === "codes" ? { rates: { latents: steps <= 1000 ? 0.05 : 0.025 } } : {}),
      ...(by === "model" && hidden !== 0 ? { loss: { hidden } } : {}),
      heldOut: { text: judge, every: Math.max(1, Math.ceil(steps / 10)) },
    });
    return { method, onTuned: () => tuning?.finish() };
  }
});

/** Whether a tuning may hold the model as float32. */
function isSmall({ source: { tensors } }: Checkpoint): boolean {
  const weights = tensors.names.reduce((sum, name) => sum + tensors.info(name).shape.reduce((x, y) => x * y, 1), 0);
  return 4 * weights <= 2 ** 32;
}

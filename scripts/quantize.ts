/** Quantises a checkpoint folder into a packed checkpoint: see `deno task quantize --help`. */
import {
  abmp,
  daq,
  type Device,
  fastKernels,
  gptq,
  type LinearReport,
  loadCorpus,
  loadModel,
  type Method,
  quantize,
  rtn,
  saveModel,
  simulateMasks,
  sizeOf,
  visible,
} from "quant-dllm";
import { interruptSignal, main, meter, positiveInteger, readOptions } from "./cli.ts";

const options = readOptions("deno task quantize MODEL_DIR --out DIR [options]", {
  out: { help: "folder for the packed checkpoint" },
  method: {
    default: "quant-dllm",
    help: "quant-dllm (the plus profile), quant-dllm-official, quant-dllm-paper, gptq, rtn",
  },
  bits: { default: "2", help: "bits per weight: planes for quant-dllm" },
  group: { default: "32", help: "columns that share scales; 128 for models of 4096 columns" },
  abmp: { default: "0", help: "share of blocks that gain and lose a plane, 0 to 0.5 (quant-dllm only)" },
  calibration: { default: "data/nanoworld/calibration.jsonl", help: '.jsonl with "text" fields, or text' },
  windows: { default: "128", help: "calibration windows" },
  length: { default: "64", help: "tokens per window" },
  mcs: { default: true, help: "mask the calibration windows as at inference (--no-mcs: visible text)" },
  seed: { default: "1", help: "of the windows and their masks" },
  device: { default: "auto", help: "auto, cpu, webgpu or cuda" },
}, 1);

await main(async () => {
  const [dir] = options._;
  const method = methodOf(options.method);
  await using model = await loadModel(dir, { device: options.device as Device });
  await using kernels = fastKernels(model.engine.runtime);
  const seed = Number(options.seed);
  const corpus = method.needsHessian
    ? await loadCorpus(options.calibration, {
      tokenizer: model.tokenizer,
      count: positiveInteger("windows", options.windows),
      length: positiveInteger("length", options.length),
      seed,
    })
    : undefined;
  const calibration = corpus && (options.mcs ? simulateMasks(corpus, { maskId: model.maskId, seed }) : visible(corpus));
  const progress = meter(method.name, model.linearNames().length, "linears");
  const linears: LinearReport[] = [];
  const quantized = await quantize(model, method, {
    calibration,
    kernels,
    signal: interruptSignal(),
    onProgress: (done, _total, linear) => {
      linears.push(linear);
      progress.update(
        done,
        linear.relativeError === undefined ? linear.name : `error ${linear.relativeError.toFixed(4)}`,
      );
    },
  });
  progress.finish();
  await saveModel(quantized, options.out);
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(`${dir}/${file}`, `${options.out}/${file}`).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
  const fallbacks = linears.filter(({ report }) => report.fallback);
  for (const { name, report } of fallbacks) {
    console.error(`fallback ${report.fallback} for ${name}: ${report.fallbackReason}`);
  }
  const { bitsPerWeight, storedBytes } = sizeOf(quantized);
  console.error(`${options.out}: ${bitsPerWeight.toFixed(4)} bits per weight, ${storedBytes} bytes of linears`);
  console.log(
    JSON.stringify({ out: options.out, method: method.name, bitsPerWeight, storedBytes, fallbacks: fallbacks.length }),
  );
});

function methodOf(name: string): Method {
  const bits = Number(options.bits);
  const group = positiveInteger("group", options.group);
  const share = Number(options.abmp);
  const planes = share > 0 ? abmp({ average: bits, ratio: share, scope: "model" }) : bits;
  switch (name) {
    case "quant-dllm":
      return daq({ bits: planes, group, profile: "plus" });
    case "quant-dllm-official":
      return daq({ bits: planes, group, profile: "official" });
    case "quant-dllm-paper":
      return daq({ bits: planes, group, profile: "paper" });
    case "gptq":
      return gptq({ bits, group });
    case "rtn":
      return rtn({ bits, group });
  }
  throw new RangeError(`Unknown method ${name}: wanted quant-dllm, quant-dllm-official, quant-dllm-paper, gptq or rtn`);
}

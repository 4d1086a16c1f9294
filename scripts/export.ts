/** Writes a checkpoint, full precision or packed, in a form that other programs read: see `deno task export --help`. */
import { exportCheckpoint, type ExportFormat } from "quant-dllm";
import {
  checkpointOptions,
  count,
  interruptSignal,
  main,
  meter,
  oneOf,
  openOptions,
  readOptions,
  standWhereUserStands,
} from "./cli.ts";

const options = readOptions("deno task export MODEL --format hf|onnx --out DIR [options]", {
  format: {
    help: "hf: full-precision safetensors as transformers reads them; onnx: one graph, tokens to logits",
    check: oneOf("hf", "onnx"),
  },
  out: { help: "the new folder" },
  "max-shard-bytes": { default: String(2 ** 31), help: "largest file of weights, in bytes (hf)", check: count() },
  dtype: {
    default: "float16",
    help: "how full-precision matrices are stored, float16 or float32 (onnx)",
    check: oneOf("float16", "float32"),
  },
  "max-length": {
    default: "",
    help: "longest sequence that the graph takes; the model's own by default (onnx)",
    check: count(),
  },
  "max-data-bytes": {
    default: "",
    help: "largest data file; one file by default; 2000000000 for browsers (onnx)",
    check: count(),
  },
  packed: { default: true, help: "run quantised matrices from their codes (--no-packed: as they decode) (onnx)" },
  "accuracy-level": {
    default: "4",
    help: "of packed products: 4 rounds activations to int8, 0 does not (onnx)",
    check: oneOf("4", "0"),
  },
  ...checkpointOptions,
}, 1);

await main(async () => {
  const [location] = options._;
  const { format, out } = options;
  standWhereUserStands();
  const signal = interruptSignal();
  let progress: ReturnType<typeof meter> | undefined;
  const result = await exportCheckpoint(location, {
    format: format as ExportFormat,
    out,
    maxShardBytes: Number(options["max-shard-bytes"]),
    onnx: {
      dtype: options.dtype as "float16" | "float32",
      maxLength: optional("max-length"),
      maxDataBytes: optional("max-data-bytes"),
      packed: options.packed,
      accuracyLevel: Number(options["accuracy-level"]) as 0 | 4,
    },
    hub: openOptions(options, signal),
    signal,
    onProgress(done, total) {
      progress ??= meter(`export ${format}`, total, format === "hf" ? "bytes" : "blocks");
      progress.update(done);
    },
  });
  progress?.finish();
  for (const [name, reason] of Object.entries(result.decoded)) {
    console.error(`${name} is stored as it decodes: ${reason}`);
  }
  console.error(`${out}: ${result.files.length} files, ${result.bytes} bytes`);
  const { bytes, packed, decoded } = result;
  console.log(JSON.stringify({ out, format, bytes, packed, decoded: Object.keys(decoded).length }));
});

function optional(name: "max-length" | "max-data-bytes"): number | undefined {
  return options[name] === "" ? undefined : Number(options[name]);
}

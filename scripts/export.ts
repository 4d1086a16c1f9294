/** Writes a checkpoint, full precision or packed, in a form that other programs read: see `deno task export --help`. */
import { exportCheckpoint, type ExportFormat } from "quant-dllm";
import { interruptSignal, main, meter, positiveInteger, readOptions } from "./cli.ts";

const options = readOptions("deno task export MODEL --format hf|onnx --out DIR [options]", {
  format: { help: "hf: full-precision safetensors as transformers reads them; onnx: one graph, tokens to logits" },
  out: { help: "the new folder" },
  "max-shard-bytes": { default: String(2 ** 31), help: "largest file of weights, in bytes (hf)" },
  dtype: { default: "float16", help: "how full-precision matrices are stored, float16 or float32 (onnx)" },
  "max-length": { default: "", help: "longest sequence that the graph takes; the model's own by default (onnx)" },
  "max-data-bytes": { default: "", help: "largest data file; one file by default; 2000000000 for browsers (onnx)" },
  packed: { default: true, help: "run quantised matrices from their codes (--no-packed: as they decode) (onnx)" },
  "accuracy-level": { default: "4", help: "of packed products: 4 rounds activations to int8, 0 does not (onnx)" },
}, 1);

await main(async () => {
  const [location] = options._;
  const { format, out } = options;
  let progress: ReturnType<typeof meter> | undefined;
  const result = await exportCheckpoint(location, {
    format: oneOf("format", format, ["hf", "onnx"]) as ExportFormat,
    out,
    maxShardBytes: positiveInteger("max-shard-bytes", options["max-shard-bytes"]),
    onnx: {
      dtype: oneOf("dtype", options.dtype, ["float16", "float32"]) as "float16" | "float32",
      maxLength: optional("max-length"),
      maxDataBytes: optional("max-data-bytes"),
      packed: options.packed,
      accuracyLevel: Number(oneOf("accuracy-level", options["accuracy-level"], ["0", "4"])) as 0 | 4,
    },
    signal: interruptSignal(),
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

function oneOf(name: string, text: string, values: readonly string[]): string {
  if (values.includes(text)) return text;
  throw new RangeError(`--${name} is ${JSON.stringify(text)}, wanted ${values.join(" or ")}`);
}

function optional(name: "max-length" | "max-data-bytes"): number | undefined {
  return options[name] === "" ? undefined : positiveInteger(name, options[name]);
}

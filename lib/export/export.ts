/** A checkpoint, full precision or packed, in a form that other programs read: transformers' own layout, or one ONNX graph. */
import { join } from "@std/path";
import { copyCompanions } from "../checkpoint/hub/companions.ts";
import { type Checkpoint, openCheckpoint, tensorShapes } from "../checkpoint/open.ts";
import { exportOnnx, type OnnxExport, type OnnxOptions } from "./onnx.ts";
import { type FloatType, tensorBytes } from "./weights.ts";
import type { ConfigOptions } from "../checkpoint/open.ts";
import type { HubOptions } from "../checkpoint/hub/hub.ts";
import { savedTypes } from "../checkpoint/save.ts";
import { isLitter } from "../checkpoint/files/file_source.ts";
import { writeShards, writeText } from "../checkpoint/files/shard_writer.ts";
import { graphCard, weightsCard } from "./card.ts";

/**
 * What a checkpoint is written as. `hf`: full-precision weights under their original names, as transformers reads them. `onnx`: one graph, for
 * onnxruntime and onnxruntime-web.
 */
export type ExportFormat = "hf" | "onnx";

export interface ExportOptions {
  readonly format: ExportFormat;
  /** The folder to make. */
  readonly out: string;
  readonly onnx?: Omit<OnnxOptions, "signal" | "onProgress">;
  /** Largest file of weights of `hf`; 2 GiB by default. */
  readonly maxShardBytes?: number;
  readonly hub?: HubOptions & ConfigOptions;
  readonly signal?: AbortSignal;
  /** Bytes of weights written (`hf`), or blocks (`onnx`). */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Exported {
  /** Everything in the folder, in the order it was written. */
  readonly files: readonly string[];
  /** Bytes of all files. */
  readonly bytes: number;
  /** Quantised matrices that an ONNX graph holds as packed nodes. */
  readonly packed: number;
  /** Those that it holds as they decode, with the reason. */
  readonly decoded: Readonly<Record<string, string>>;
}

/**
 * Writes a checkpoint (a folder or a Hub id) in another form. Weights are streamed: a block, or 64 MiB of a larger matrix, is in memory at a time. The
 * folder appears when it is whole, config.json last in it: until then it is called `${out}.*.part`, and on an error it is removed.
 *
 * @throws what `openCheckpoint`, `writeShards` and `exportOnnx` throw; RangeError for an unknown format and for a folder that holds anything.
 *
 * @example
 * ```ts
 * import { exportCheckpoint, loadModel, quantize, rtn, saveModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * await saveModel(await quantize(model, rtn({ bits: 4, group: 32 })), "results/rtn-4bit");
 * const { files, packed } = await exportCheckpoint("results/rtn-4bit", { format: "onnx", out: "results/graph" });
 * ```
 */
export async function exportCheckpoint(location: string, options: ExportOptions): Promise<Exported> {
  const { format, hub } = options;
  if (!Object.hasOwn(writers, format)) {
    throw new RangeError(`Cannot export to format ${JSON.stringify(format)}: wanted hf or onnx`);
  }
  const out = options.out.replace(/(?<=.)[/\\]+$/, "");
  const checkpoint = await openCheckpoint(location, hub);
  await refuseUsed(out);
  const dir = `${out}.${crypto.randomUUID()}.part`;
  await Deno.mkdir(dir, { recursive: true });
  try {
    const beside = await copyCompanions(checkpoint.source.dir, dir, { signal: options.signal });
    const { files, packed = [], decoded = {} } = await writers[format](checkpoint, dir, options, beside);
    const all = [...beside, ...files];
    const sizes = await Promise.all(all.map(async (file) => (await Deno.stat(join(dir, file))).size));
    await refuseUsed(out); // someone else may have been there in the meantime
    await Deno.rename(dir, out);
    return { files: all, bytes: sizes.reduce((sum, size) => sum + size, 0), packed: packed.length, decoded };
  } catch (error) {
    await Deno.remove(dir, { recursive: true }).catch(() => {}); // the first error is the one to report
    throw error;
  }
}

type Writer = (
  checkpoint: Checkpoint,
  dir: string,
  options: ExportOptions,
  beside: readonly string[],
) => Promise<Partial<OnnxExport> & { files: readonly string[] }>;

const writers: Readonly<Record<ExportFormat, Writer>> = {
  async hf(checkpoint, dir, { maxShardBytes, signal, onProgress }, beside) {
    await writeText(join(dir, CARD), weightsCard(checkpoint, beside), { signal });
    const dtype = decodedType(checkpoint);
    const shapes = tensorShapes(checkpoint.family, checkpoint.architecture);
    const { source: { tensors }, stored } = checkpoint;
    // What is not quantised stays as it is: checkpoints keep norms and biases in float32 where the rest of the model must not round them.
    // Opening it has checked that they are floats.
    const typeOf = (name: string) => stored.has(name) ? dtype : tensors.info(name).dtype as FloatType;
    const heads = [...shapes].map(([name, shape]) => ({ name, dtype: typeOf(name), shape }));
    const read = (name: string) => tensorBytes(checkpoint, name, { shape: shapes.get(name)!, dtype: typeOf(name) });
    const config = plainConfig(checkpoint);
    if (config.dtype === undefined) config.torch_dtype = torchTypes[dtype];
    const { files } = await writeShards(dir, heads, { read, config, maxShardBytes, signal, onProgress });
    return { files: [CARD, ...files] };
  },
  async onnx(checkpoint, dir, { onnx, signal, onProgress }) {
    const made = await exportOnnx(checkpoint, dir, { ...onnx, signal, onProgress });
    await writeText(join(dir, CARD), graphCard(checkpoint, { ...onnx, decoded: made.decoded }), { signal });
    await writeText(join(dir, "config.json"), JSON.stringify(plainConfig(checkpoint), null, 2) + "\n", { signal });
    return { ...made, files: [...made.files, CARD, "config.json"] };
  },
};

const CARD = "README.md";

/** The type of weights that were quantised: that of the config, bf16 where it names none. */
function decodedType({ config }: Checkpoint): FloatType {
  const named = String(config.torch_dtype ?? config.dtype ?? "bfloat16");
  return named === "float32" ? "F32" : savedTypes[named] ?? "BF16";
}

const torchTypes: Readonly<Record<FloatType, string>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

/** The config of the model without quantisation. */
function plainConfig({ source }: Checkpoint): Record<string, unknown> {
  const { quantization_config: _, ...config } = source.config;
  return config;
}

/** A folder that holds anything stays as it is; an empty one makes room. */
async function refuseUsed(out: string): Promise<void> {
  try {
    for await (const { name } of Deno.readDir(out)) {
      if (isLitter(name)) {
        await Deno.remove(join(out, name));
        continue;
      }
      throw new RangeError(
        `Cannot export to "${out}": the folder is not empty, it holds "${name}"; choose another one`,
      );
    }
    await Deno.remove(out);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

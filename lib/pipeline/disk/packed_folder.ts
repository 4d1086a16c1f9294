/** A packed checkpoint in the layout of the Hugging Face Hub, put together from the finished linears and what the original holds in full precision. */
import { join } from "@std/path";
import { modelCard } from "../../report/model_card.ts";
import { copyCompanions } from "../../checkpoint/hub/companions.ts";
import { type Checkpoint, tensorShapes } from "../../checkpoint/open.ts";
import { entriesOf, partName, type QuantizationConfig } from "../../checkpoint/quantized_config.ts";
import { planShards, type TensorHead, writeShards, writeText } from "../../checkpoint/files/shard_writer.ts";
import type { QuantizedLinear } from "../../quant/method.ts";
import type { LinearReport } from "../store.ts";
import { encodeFloats } from "../../checkpoint/save.ts";
import type { Moved } from "../../tune/moved.ts";
import type { FloatType } from "../../tune/moving.ts";
import type { TuningRow } from "./tuning.ts";
import type { WorkFolder } from "./work_folder.ts";

export interface Summary {
  /** Of the linears of the blocks, counted from stored bytes. */
  readonly bitsPerWeight: number;
  /** Of all weights of the model, embedding and head included. */
  readonly bitsPerParameter: number;
  /** Bytes of all tensors. */
  readonly bytes: number;
  readonly linears: number;
  /** Linears whose method or calibration fell back. */
  readonly fallbacks: number;
}

/** Writes the folder `out`: shards, index, tokenizer, `quantization.jsonl` (one report per linear), `tuning.jsonl` (one line per step, where there was tuning), model card, and the config last. */
export async function writePacked(
  checkpoint: Checkpoint,
  folder: WorkFolder,
  { out, provenance, maxShardBytes, moved, wide = false, rows }: {
    readonly out: string;
    readonly provenance: Readonly<Record<string, string | number>>;
    readonly maxShardBytes?: number;
    /** What was moved since the walk. */
    readonly moved?: Moved;
    /** Vectors that moved are stored as float32, whatever the type of the checkpoint. */
    readonly wide?: boolean;
    /** The steps of what moved it, where it was tuned. */
    readonly rows?: readonly TuningRow[];
  },
): Promise<Summary> {
  const { source, config, family, architecture } = checkpoint;
  const shapes = tensorShapes(family, architecture);
  const typeOf = (name: string) =>
    wide && moved?.vectors.has(name) ? "F32" : source.tensors.info(name).dtype as FloatType;
  const tensors: TensorHead[] = [];
  const owner = new Map<string, string>();
  const entries: Omit<QuantizedLinear, "tensors">[] = [];
  const reports: LinearReport[] = [];
  let parameters = 0;
  for (const [name, shape] of shapes) {
    parameters += shape.reduce((x, y) => x * y);
    const finished = await folder.finished(name);
    if (!finished) {
      tensors.push({ name, dtype: typeOf(name), shape });
      continue;
    }
    // The seconds stay in the work folder: what is made is the same however long it took.
    const { report: { seconds: _, ...report } } = finished;
    const q = moved?.forms.get(name) ?? finished.q, { tensors: parts, ...entry } = q;
    entries.push(entry);
    const stored = Object.values(parts).reduce((sum, { bytes }) => sum + bytes.length, 0);
    reports.push({ ...report, bitsPerWeight: 8 * stored / (shape[0] * shape[1]) });
    for (const [part, { dtype, shape }] of Object.entries(parts)) {
      tensors.push({ name: partName(name, part), dtype, shape });
      owner.set(partName(name, part), name);
    }
  }
  let held: { name: string; q: QuantizedLinear } | undefined;
  const read = async (tensor: string): Promise<Uint8Array> => {
    const name = owner.get(tensor);
    if (name === undefined) {
      const vector = moved?.vectors.get(tensor);
      return vector ? encodeFloats(typeOf(tensor), vector) : await source.tensors.read(tensor);
    }
    if (held?.name !== name) {
      held = { name, q: moved?.forms.get(name) ?? (await folder.finished(name))!.q };
    }
    return held.q.tensors[Object.keys(held.q.tensors).find((part) => partName(name, part) === tensor)!].bytes;
  };
  const bytes = planShards(tensors, maxShardBytes).totalBytes;
  const text = (file: string, content: string) => writeText(join(out, file), content);
  await text("quantization.jsonl", reports.map((report) => JSON.stringify(report) + "\n").join(""));
  if (rows) await text("tuning.jsonl", rows.map((row) => JSON.stringify(row) + "\n").join(""));
  await copyCompanions(source.dir, out);
  const inside = reports.filter(({ layer }) => layer >= 0);
  const weights = (list: readonly LinearReport[]) =>
    list.reduce((sum, { name }) => sum + shapes.get(name)!.reduce((x, y) => x * y), 0);
  const bits = inside.reduce((sum, r) => sum + r.bitsPerWeight * weights([r]), 0);
  const summary: Summary = {
    bitsPerWeight: bits / weights(inside),
    bitsPerParameter: 8 * bytes / parameters,
    bytes,
    linears: inside.length,
    fallbacks: reports.filter(({ report }) => report.fallback ?? report.calibrationFallback).length,
  };
  const card = { base: source.name, revision: source.revision, provenance, summary, reports };
  await text("README.md", modelCard({ ...card, tuning: rows }));
  const section: QuantizationConfig = { quant_method: "quant-dllm", provenance, linears: entriesOf(entries) };
  await writeShards(out, tensors, { read, config: { ...config, quantization_config: section }, maxShardBytes });
  return summary;
}

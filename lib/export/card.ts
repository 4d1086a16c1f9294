/** The README.md of an exported folder: what it is, what it was made from, and what differs. */
import { basename } from "@std/path";
import type { Checkpoint } from "../checkpoint/open.ts";

export interface GraphCardOptions {
  readonly dtype?: "float16" | "float32";
  readonly packed?: boolean;
  readonly accuracyLevel?: 0 | 4;
  readonly maxLength?: number;
  /** Quantised matrices that are stored as they decode, with the reason. */
  readonly decoded: Readonly<Record<string, string>>;
}

/** The card of an export of weights; `files` lie beside them. */
export function weightsCard(checkpoint: Checkpoint, files: readonly string[]): string {
  const lines = [
    "Safetensors with the names and shapes of the original checkpoint: load it as the original is loaded.",
  ];
  if (checkpoint.stored.section) {
    lines.push(
      "",
      "Quantised weights are what they decode to, rounded to the type in config.json; all others are as they were, in the",
      "type that they had. The folder is as large as the original: it shows what quantisation did to the answers, not",
      "what it saves.",
    );
  }
  const missing = codeOf(checkpoint.source.config).filter((file) => !files.includes(file));
  if (missing.length > 0) {
    lines.push(
      "",
      `The config names code that was not beside the source; copy it from the original: ${missing.join(", ")}.`,
    );
  }
  return card(checkpoint, lines);
}

/** The Python files that a config asks transformers to run. Those of another repository ("org/name--module.Class") are fetched from there. */
function codeOf({ auto_map: map }: Readonly<Record<string, unknown>>): string[] {
  const classes = typeof map === "object" && map !== null ? Object.values(map).flat() : [];
  const own = classes.filter((c): c is string => typeof c === "string" && c.includes(".") && !c.includes("--"));
  return [...new Set(own.map((c) => `${c.slice(0, c.lastIndexOf("."))}.py`))].sort();
}

/** The card of an export as a graph. */
export function graphCard(checkpoint: Checkpoint, options: GraphCardOptions): string {
  const { architecture: a, stored: { section } } = checkpoint;
  const { dtype = "float16", packed = true, accuracyLevel = 4, maxLength = a.maxLength, decoded } = options;
  const lines = [
    "`model.onnx`, with its weights beside it, is the whole model for onnxruntime and onnxruntime-web.",
    "",
    `- Input \`tokens\`: int64 [batch, time], time at most ${maxLength}; masked places hold ${a.maskId}.`,
    `- Output \`logits\`: float32 [batch, time, ${a.vocabSize}]; row i predicts token i.`,
    `- Full-precision matrices are stored as ${dtype} and compute in float32: 4 bytes per weight in memory.`,
  ];
  if (section && !packed) lines.push("- Quantised matrices are stored as they decode.");
  if (section && packed) {
    const how = accuracyLevel === 4 ? "which may round activations to int8" : "on float activations";
    lines.push(`- Quantised matrices run from their codes, by onnxruntime's operator MatMulNBits, ${how}.`);
  }
  for (const [name, reason] of Object.entries(decoded)) lines.push(`- \`${name}\` is stored as it decodes: ${reason}.`);
  return card(checkpoint, lines);
}

function card({ source, stored: { section }, config }: Checkpoint, body: readonly string[]): string {
  const origin = source.revision === undefined ? source.name : `${source.name} at commit ${source.revision}`;
  const lines = [
    `# ${nameOf(source.name)}, exported`,
    "",
    `Made by quant-dllm from ${origin} (model_type ${config.model_type}).`,
    "",
    ...body,
  ];
  if (section) {
    lines.push(
      "",
      `## Quantisation`,
      "",
      `${Object.keys(section.linears).length} matrices of the source are quantised:`,
      "",
    );
    for (const [key, value] of Object.entries(section.provenance ?? {})) lines.push(`- ${key}: ${value}`);
  }
  return [...lines, "", "The licence is that of the original model.", ""].join("\n");
}

const nameOf = (location: string): string => basename(location) || location;

/** The README of a packed checkpoint: what it is, what it takes, how it was made and what was lost. */

export interface ModelCard {
  /** The original: a Hub id or a folder. */
  readonly base: string;
  readonly revision?: string;
  readonly provenance: Readonly<Record<string, string | number>>;
  readonly summary: {
    readonly bitsPerWeight: number;
    readonly bitsPerParameter: number;
    readonly bytes: number;
    readonly linears: number;
    readonly fallbacks: number;
  };
  readonly reports: readonly {
    readonly name: string;
    readonly layer: number;
    readonly linear: string;
    readonly bitsPerWeight: number;
    readonly relativeError?: number;
    readonly heldOutError?: number;
    readonly report: Readonly<Record<string, unknown>>;
  }[];
  /** Steps of tunings, in order; absent where nothing was tuned. */
  readonly tuning?: readonly TuningStep[];
}

export interface TuningStep {
  readonly tuning: number;
  readonly step: number;
  readonly kl?: number;
  readonly hidden?: number;
  readonly heldOut?: { readonly forward: number; readonly answers: number };
}

/** Markdown with the YAML header that the Hub reads. */
export function modelCard({ base, revision, provenance, summary, reports, tuning }: ModelCard): string {
  const inside = reports.filter(({ layer }) => layer >= 0);
  const kinds = [...Map.groupBy(inside, ({ linear }) => linear.replace(/^experts\.\d+\./, "experts: "))];
  const rows = kinds.map(([kind, list]) => [
    kind,
    list.length,
    mean(list.map((r) => r.bitsPerWeight))?.toFixed(4) ?? "",
    percent(mean(list.flatMap((r) => r.relativeError ?? []))),
    percent(mean(list.flatMap((r) => r.heldOutError ?? []))),
  ]);
  const outside = reports.filter(({ layer }) => layer < 0).map((r) => [
    r.linear,
    1,
    r.bitsPerWeight.toFixed(4),
    percent(r.relativeError),
    "",
  ]);
  const fallbacks = reports.filter(({ report }) => report.fallback ?? report.calibrationFallback);
  return [
    "---",
    ...(revision ? [`base_model: ${base}`, "base_model_relation: quantized"] : []),
    "library_name: quant-dllm",
    "pipeline_tag: text-generation",
    "tags: [masked-diffusion, quantized, 2-bit]",
    "---",
    "",
    `# ${base.split("/").at(-1)}, quantised by quant-dllm`,
    "",
    `Made from \`${base}\`${revision ? ` at revision \`${revision}\`` : ""} with the method \`${provenance.method}\`.`,
    "The licence is that of the original.",
    "",
    `- **${
      summary.bitsPerWeight.toFixed(4)
    } bits per weight** in the ${summary.linears} linears of the blocks, scales and all, counted`,
    "  from stored bytes",
    `- **${summary.bitsPerParameter.toFixed(4)} bits per parameter** over the whole model, embedding and head included`,
    `- **${summary.bytes} bytes** of tensors (${size(summary.bytes, 1000, "B")}, ${size(summary.bytes, 1024, "iB")})`,
    "",
    "## Calibration and settings",
    "",
    ...Object.entries(provenance).map(([key, value]) => `- ${key}: \`${value}\``),
    "",
    ...(tuning ? tuningSection(tuning) : []),
    tuning ? "## Errors before tuning" : "## Errors",
    "",
    "tr((W - Q) H (W - Q)ᵀ) / tr(W H Wᵀ) by kind of linear, mean over the blocks: on the calibration inputs, and on windows held out of",
    "the calibration. For embedding and head the squared error of the weights. Each linear has its line in `quantization.jsonl`.",
    "",
    "| linear | count | bits per weight | error | held out |",
    "| --- | ---: | ---: | ---: | ---: |",
    ...[...rows, ...outside].map((row) => `| ${row.join(" | ")} |`),
    "",
    ...(fallbacks.length === 0 ? ["No linear fell back to another method or calibration."] : [
      `${fallbacks.length} linears fell back:`,
      "",
      ...fallbacks.map(({ name, report }) => `- \`${name}\`: ${report.fallback ?? report.calibrationFallback}`),
    ]),
    "",
    "## Use",
    "",
    "```sh",
    'deno task generate THIS_FOLDER "your prompt"',
    "deno task export THIS_FOLDER --format hf --out DEQUANTISED   # bf16, for the Python world",
    "```",
    "",
  ].join("\n");
}

function tuningSection(rows: readonly TuningStep[]): string[] {
  const lines = [...Map.groupBy(rows, ({ tuning }) => tuning).values()].map((own) => {
    const ends = [own.slice(0, tenth(own)), own.slice(-tenth(own))];
    const told = (["kl", "hidden"] as const).filter((key) => own[0][key] !== undefined).map((key) => {
      const [first, last] = ends.map((part) => mean(part.map((row) => row[key]!))!.toFixed(4));
      return `${key === "kl" ? "KL from full precision" : "relative error of hidden states"} ${first} -> ${last}`;
    });
    const held = own.findLast(({ heldOut }) => heldOut)?.heldOut;
    const judged = held
      ? `; held-out text: KL ${held.forward.toFixed(4)} under the forward process, ${
        held.answers.toFixed(4)
      } at answers`
      : "";
    return `- ${own.at(-1)!.step} steps: ${told.join(", ")} on its own text (first and last tenth)${judged}`;
  });
  return [
    "## Tuning",
    "",
    "Stored codes, scales and norms were moved towards the full-precision model; forms and bits stayed. What the text does not speak of comes",
    "back in part only. `tuning.jsonl` has a line for each step.",
    "",
    ...lines,
    "",
  ];
}

const tenth = (rows: readonly unknown[]) => Math.max(1, Math.floor(rows.length / 10));

/** Bytes in the largest unit that they fill: decimal (1000, "B") or binary (1024, "iB"). */
function size(bytes: number, base: number, unit: string): string {
  const power = Math.max(1, Math.min(3, Math.floor(Math.log(bytes) / Math.log(base))));
  return `${(bytes / base ** power).toFixed(2)} ${"kMG"[power - 1].replace("k", base === 1000 ? "k" : "K")}${unit}`;
}

const mean = (x: readonly number[]) => x.length === 0 ? undefined : x.reduce((a, b) => a + b, 0) / x.length;
const percent = (x: number | undefined) => x === undefined ? "" : `${(100 * x).toFixed(2)} %`;

/** The paper's large experiments as values: which models, methods, calibration and tasks, as its protocol has them (arXiv 2510.03274 §4, and its scripts). */

/** A way to a quantised model: options of `deno task quantize`; none for full precision. */
export interface RecipeMethod {
  readonly label: string;
  readonly options?: readonly string[];
  /** Where another kind of model has others. */
  readonly instead?: Readonly<Partial<Record<ModelKind, readonly string[]>>>;
}

/** Whose protocol a model is evaluated by; the testbed has tasks and a text of its own. */
export type ModelKind = "llada" | "dream" | "testbed";

/** Tasks that are evaluated with the same options of `deno task evaluate`. */
export interface RecipeTasks {
  readonly names: readonly string[];
  readonly options: readonly string[];
  /** Function evaluations of whole sequences that the tasks take at full length, in thousands. */
  readonly thousands: number;
}

export interface Recipe {
  readonly title: string;
  readonly models: readonly string[];
  readonly methods: readonly RecipeMethod[];
  readonly tasks: Readonly<Record<ModelKind, readonly RecipeTasks[]>>;
  /** Means that tables show beside the tasks, by name. */
  readonly means: Readonly<Record<string, readonly string[]>>;
}

const models = [
  "GSAI-ML/LLaDA-8B-Base",
  "GSAI-ML/LLaDA-8B-Instruct",
  "GSAI-ML/LLaDA-1.5",
  "Dream-org/Dream-v0-Base-7B",
  "Dream-org/Dream-v0-Instruct-7B",
];

/** C4, 128 windows of 4096 tokens, groups of 128: the paper's calibration. On the testbed its own text takes the place of C4. */
const paper = ["--group", "128", "--bits", "2"];
const official = (...more: string[]) => ["--method", "quant-dllm-official", ...paper, ...more];

const rivals: readonly RecipeMethod[] = [
  { label: "full precision" },
  { label: "GPTQ", options: ["--method", "gptq", ...paper, "--no-mcs"] },
  { label: "GPTAQ", options: ["--method", "gptaq", ...paper, "--no-mcs"] },
  {
    label: "SliM-LLM",
    options: ["--method", "slim-llm", ...paper, "--no-mcs"],
    // Bits are shared out among four groups of a linear at least, which the testbed's narrow ones have at 64.
    instead: { testbed: ["--method", "slim-llm", "--group", "64", "--bits", "2", "--no-mcs"] },
  },
  { label: "Quant-dLLM", options: official("--abmp", "0.05"), instead: { dream: official("--abmp", "0.1") } },
  { label: "levels", options: ["--method", "levels", ...paper] },
];

/** 128 masks per option in batches of eight (LLaDA) or 32 (Dream); BBH without examples, as long as the model's script has it. */
const likelihood = (batch: string, shots: string) => ["--mc-num", "128", "--mc-batch", batch, "--shots", shots];
const table1Tasks = (batch: string, length: string): readonly RecipeTasks[] => [
  { names: ["mmlu", "winogrande"], options: likelihood(batch, "5"), thousands: 14 + 324 },
  {
    names: ["piqa", "arc_challenge", "arc_easy", "hellaswag"],
    options: likelihood(batch, "0"),
    thousands: 471 + 600 + 1217 + 5142,
  },
  {
    names: ["bbh_cot_zeroshot"],
    options: ["--gen-length", length, "--gen-steps", length, "--gen-block", length],
    thousands: 6.511 * Number(length),
  },
];
const generated = (names: readonly string[], length: string, block: string, documents: number): RecipeTasks => ({
  names,
  options: ["--gen-length", length, "--gen-steps", length, "--gen-block", block, "--run-code"],
  thousands: documents * Number(length) / 1000,
});
const figure3Tasks: readonly RecipeTasks[] = [
  generated(["gsm8k"], "256", "32", 1319),
  generated(["minerva_math"], "256", "64", 5000),
  generated(["gpqa_main_generative_n_shot"], "64", "64", 448),
  generated(["humaneval"], "512", "32", 164),
  generated(["mbpp"], "512", "32", 500),
];

const nanoChoices = [
  "nano_mmlu",
  "nano_winogrande",
  "nano_piqa",
  "nano_arc_challenge",
  "nano_arc_easy",
  "nano_hellaswag",
  "nano_bbh",
];

export const recipes: Readonly<Record<"table1" | "figure3" | "ablations", Recipe>> = {
  table1: {
    title: "Table 1: seven tasks at two bits",
    models,
    methods: rivals,
    tasks: {
      llada: table1Tasks("8", "1024"),
      dream: table1Tasks("32", "512"),
      testbed: [{ names: nanoChoices, options: [], thousands: 20 }],
    },
    means: {
      mean: [
        ...nanoChoices,
        "mmlu",
        "winogrande",
        "piqa",
        "arc_challenge",
        "arc_easy",
        "hellaswag",
        "bbh_cot_zeroshot",
      ],
    },
  },
  figure3: {
    title: "Figure 3: mathematics and science, and code, at two bits",
    models,
    methods: rivals,
    tasks: {
      llada: figure3Tasks,
      dream: figure3Tasks,
      testbed: [{ names: ["nano_gsm8k", "nano_code"], options: ["--run-code"], thousands: 3 }],
    },
    // The figure does not name its tasks; this is how its two groups are usually read.
    means: {
      "mathematics and science": ["gsm8k", "minerva_math", "gpqa_main_generative_n_shot", "nano_gsm8k"],
      code: ["humaneval", "mbpp", "nano_code"],
    },
  },
  ablations: {
    title: "Table 2 and the calibration's size: the parts of Quant-dLLM, one after another",
    models: ["GSAI-ML/LLaDA-8B-Base", "Dream-org/Dream-v0-Base-7B"],
    methods: [
      { label: "full precision" },
      { label: "without MCS", options: official("--abmp", "0.05", "--no-mcs") },
      ...["0", "0.05", "0.1", "0.15"].map((share) => ({
        label: `ABMP ${100 * Number(share)} %`,
        options: official("--abmp", share),
      })),
      ...["64", "256"].map((windows) => ({
        label: `${windows} windows`,
        options: official("--abmp", "0.05", "--windows", windows),
      })),
    ],
    tasks: {
      llada: [{ names: ["mmlu"], options: likelihood("8", "5"), thousands: 14 }],
      dream: [{ names: ["mmlu"], options: likelihood("32", "5"), thousands: 14 }],
      testbed: [{ names: ["nano_mmlu"], options: [], thousands: 3 }],
    },
    means: {},
  },
};

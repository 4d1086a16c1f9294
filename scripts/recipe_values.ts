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

/** A task or group by its id, and what its evaluation takes. */
export interface RecipeTask {
  readonly name: string;
  /** All its rows, over `parts` tasks; a limit of items is one of each part. */
  readonly documents: number;
  readonly parts?: number;
  /** Sequences that a row takes through the model. */
  readonly passes: number;
  /** Of such a sequence, about. */
  readonly tokens: number;
}

/** Tasks that are evaluated with the same options of `deno task evaluate`. */
export interface RecipeTasks {
  readonly tasks: readonly RecipeTask[];
  readonly options: readonly string[];
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

/** Profile, groups and bits of the paper; Dream's models have twice the share of groups that gain and lose a plane. */
const quantDllm = (label: string, ...more: string[]): RecipeMethod => ({
  label,
  options: official("--abmp", "0.05", ...more),
  instead: { dream: official("--abmp", "0.1", ...more) },
});

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
  quantDllm("Quant-dLLM"),
  { label: "levels", options: ["--method", "levels", ...paper] },
];

/** Masks per option. */
const masks = 128;
/** A task of multiple choice: every option under every mask. Options of one token share a sequence, and have one mask. */
const chosen = (name: string, documents: number, options: number, tokens: number): RecipeTask => ({
  ...{ name, documents, tokens, passes: options * masks },
});
const mmlu: RecipeTask = { name: "mmlu", documents: 14042, parts: 57, passes: 1, tokens: 700 };
const likelihood = (batch: string, shots: string) => [
  ...["--mc-num", String(masks), "--mc-batch", batch, "--shots", shots],
];

/** A task whose answers are written, a pass per token. */
interface Written {
  readonly name: string;
  readonly documents: number;
  readonly parts?: number;
  /** Tokens before the answer, about. */
  readonly prompt: number;
  /** Absent: the task's own. */
  readonly shots?: string;
  readonly length: number;
  /** Of LLaDA's sampler; Dream's has none. */
  readonly block?: number;
  readonly options?: readonly string[];
}
const written = ({ prompt, length, shots, block, options = [], ...task }: Written): RecipeTasks => ({
  tasks: [{ ...task, passes: length, tokens: prompt + length }],
  options: [
    ...["--gen-length", String(length), "--gen-steps", String(length)],
    ...(block ? ["--gen-block", String(block)] : []),
    ...(shots ? ["--shots", shots] : []),
    ...options,
  ],
});

/** Masks in batches of eight (LLaDA) or 32 (Dream). BBH is the few-shot group without its examples, as the authors' script asks for it. */
const table1Tasks = (batch: string, length: number, block?: number): readonly RecipeTasks[] => [
  { tasks: [mmlu, chosen("winogrande", 1267, 2, 150)], options: likelihood(batch, "5") },
  {
    tasks: [
      chosen("piqa", 1838, 2, 40),
      chosen("arc_challenge", 1172, 4, 40),
      chosen("arc_easy", 2376, 4, 35),
      chosen("hellaswag", 10042, 4, 90),
    ],
    options: likelihood(batch, "0"),
  },
  written({ name: "bbh_cot_fewshot", documents: 6511, parts: 27, prompt: 100, shots: "0", length, block }),
];

/** The paper has no script for these. Shots and lengths are those of QDLM's for LLaDA, GPQA's those of LLaDA's authors. */
const figure3Tasks = (kind: "llada" | "dream"): readonly RecipeTasks[] => {
  const blocks = (block: number) => kind === "llada" ? { block } : {};
  const code = { ...blocks(32), length: 512, options: ["--run-code"] };
  return [
    written({ name: "gsm8k", documents: 1319, prompt: 700, shots: "4", length: 256, ...blocks(32) }),
    written({ name: "minerva_math", documents: 5000, parts: 7, prompt: 100, shots: "0", length: 256, ...blocks(64) }),
    written({ name: "gpqa_main_generative_n_shot", documents: 448, prompt: 1200, length: 64, ...blocks(64) }),
    written({ name: "humaneval", documents: 164, prompt: 150, shots: "0", ...code }),
    written({ name: "mbpp", documents: 500, prompt: 600, shots: "3", ...code }),
  ];
};

/** The testbed's, whose sequences are short. A choice of several tokens is scored under four masks, one of one token once. */
const nano = (name: string, passes: number): RecipeTask => ({ name, documents: 400, passes, tokens: 16 });
const nanoTable1 = [
  ...["nano_mmlu", "nano_winogrande", "nano_piqa"].map((name) => nano(name, 1)),
  ...["nano_arc_challenge", "nano_arc_easy", "nano_hellaswag", "nano_bbh"].map((name) => nano(name, 16)),
];

export const recipes: Readonly<Record<"table1" | "figure3" | "ablations", Recipe>> = {
  table1: {
    title: "Table 1: seven tasks at two bits",
    models,
    methods: rivals,
    tasks: {
      llada: table1Tasks("8", 1024, 1024),
      dream: table1Tasks("32", 512),
      testbed: [{ tasks: nanoTable1, options: [] }],
    },
    means: {
      mean: [
        ...["mmlu", "winogrande", "piqa", "arc_challenge", "arc_easy", "hellaswag", "bbh_cot_fewshot"],
        ...nanoTable1.map(({ name }) => name),
      ],
    },
  },
  figure3: {
    title: "Figure 3: mathematics and science, and code, at two bits",
    models,
    methods: rivals,
    tasks: {
      llada: figure3Tasks("llada"),
      dream: figure3Tasks("dream"),
      testbed: [{
        tasks: [
          { name: "nano_gsm8k", documents: 200, passes: 5, tokens: 16 },
          { name: "nano_code", documents: 200, passes: 3, tokens: 20 },
        ],
        options: ["--run-code"],
      }],
    },
    // The figure does not name its tasks; this is how its two groups are usually read.
    means: {
      "mathematics and science": ["gsm8k", "minerva_math", "gpqa_main_generative_n_shot", "nano_gsm8k"],
      code: ["humaneval", "mbpp", "nano_code"],
    },
  },
  ablations: {
    title: "Table 2: the parts of Quant-dLLM, one after another",
    models: ["GSAI-ML/LLaDA-8B-Base", "Dream-org/Dream-v0-Base-7B"],
    methods: [
      { label: "full precision" },
      quantDllm("Quant-dLLM"),
      quantDllm("without MCS", "--no-mcs"),
      ...[0, 5, 10, 15].map((percent) => ({
        label: `ABMP ${percent} %`,
        options: official("--abmp", String(percent / 100)),
      })),
      quantDllm("plain fit", "--parts", "plain"),
      quantDllm("RSR", "--parts", "rsr"),
      ...["64", "256"].map((windows) => quantDllm(`${windows} windows`, "--windows", windows)),
    ],
    tasks: {
      llada: [{ tasks: [mmlu], options: likelihood("8", "5") }],
      dream: [{ tasks: [mmlu], options: likelihood("32", "5") }],
      testbed: [{ tasks: [nano("nano_mmlu", 1)], options: [] }],
    },
    means: {},
  },
};

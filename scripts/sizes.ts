/** Sizes: this run's stored models, and LLaDA-8B by the same counting, beside the paper's Table 3. */
import {
  type Arm,
  formBytes,
  lladaShapes,
  type Measurement,
  type Model,
  type PaperNumbers,
  type Table,
  textTable,
} from "quant-dllm";
import type { Scale, Study } from "./studies.ts";

/** LLaDA-8B (config.json of GSAI-ML/LLaDA-8B-Base). */
const llada8b = lladaShapes({ layers: 32, width: 4096, hidden: 12288, vocabSize: 126464 });

/** How the matrices of a model are stored. */
export interface StoredAs {
  readonly form: "binary" | "levels";
  readonly group: number;
  readonly rowScaleBits: 8 | 16;
  readonly embedBits: number;
  readonly headBits: number;
}

/** Bytes of all tensors of LLaDA-8B with two planes, or levels of 2 bits, per linear; and the bits per weight of its linears. */
export function llada8bBytes({ form, rowScaleBits, embedBits, headBits, group }: StoredAs) {
  const bytesOf = formBytes[form];
  const vocabulary = { rows: 126464, cols: 4096 };
  const outside = (bits: number) =>
    bits === 16 ? 2 * vocabulary.rows * vocabulary.cols : formBytes.uniform({ ...vocabulary, bits, group: 128 });
  const linears = llada8b.linears.reduce((sum, shape) => sum + bytesOf({ ...shape, order: 2, group, rowScaleBits }), 0);
  const weights = llada8b.linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const norms = 2 * (llada8b.otherWeights - 2 * vocabulary.rows * vocabulary.cols);
  return {
    lladaBitsPerWeight: 8 * linears / weights,
    lladaBytes: linears + outside(embedBits) + outside(headBits) + norms,
  };
}

export function sizesTable(
  model: Model,
  main: Study,
  { scale, find, paper }: {
    readonly scale: Scale;
    readonly find: (arm: Arm, seed: number) => Measurement;
    readonly paper: PaperNumbers;
  },
): { readonly table: Table; readonly note: string } {
  const { layers, width, hidden, vocabSize } = model.architecture;
  const nano = lladaShapes({ layers, width, hidden, vocabSize });
  const lines = main.settings.map((arm) => {
    const row = find(arm, scale.seeds[0]).rows[0];
    const bytes = (row.storedBytes as number) + 2 * nano.otherWeights;
    return ["nano-llada", arm.label, row.bitsPerWeight.toFixed(4), `${(bytes / 1e6).toFixed(3)} MB`, ""];
  });
  const big = (method: string, bytesOf: (shape: { rows: number; cols: number }) => number, printed: string) => {
    const quantised = llada8b.linears.reduce((sum, shape) => sum + bytesOf(shape), 0);
    const weights = llada8b.linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
    const total = quantised + 2 * llada8b.otherWeights;
    const size = `${(total / 1e9).toFixed(3)} GB = ${(total / 2 ** 30).toFixed(3)} GiB`;
    const entry = paper.entries.find((e) => e.method === printed);
    return ["LLaDA-8B", method, (8 * quantised / weights).toFixed(4), size, entry ? `${entry.value} "GB"` : ""];
  };
  lines.push(
    big("bf16", ({ rows, cols }) => 2 * rows * cols, "FP16"),
    big("GPTQ 2 bits, group 128", (s) => formBytes.uniform({ ...s, bits: 2, group: 128 }), "GPTQ"),
    big("Quant-dLLM, block 128", (s) => formBytes.binary({ ...s, order: 2, group: 128 }), "Quant-dLLM"),
  );
  const table = textTable(["model", "stored as", "bits per quantised weight", "size, all tensors", "paper"], lines, {
    labels: 2,
    caption: "Sizes; embeddings, head and norms at 16 bits",
  });
  return { table, note: `The paper's column as printed (arXiv 2510.03274, Table 3). ${paper.caveats[0]}` };
}

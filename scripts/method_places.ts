/** README's words on every method of the field: its paper, what it stores, its place on the testbed, and where that is not its paper's. */
import { type Row, type Table, textTable } from "quant-dllm";
import { pairLines } from "./tables.ts";
import type { Verdict } from "./verdicts.ts";

/** Its place is that of its arm nearest to two bits, as published: not tuned, with the block step of its own code. */
interface Facts {
  readonly name: string;
  readonly paper: string;
  readonly stores: string;
  readonly arm: string;
}

const methods: readonly Facts[] = [
  { name: "daq", paper: "2510.03274", stores: "binary planes; run from them", arm: "Quant-dLLM official" },
  { name: "levels", paper: "", stores: "codes of four levels; run from them", arm: "levels" },
  { name: "gptq", paper: "2210.17323", stores: "uniform codes; run from them", arm: "GPTQ" },
  { name: "rtn", paper: "2210.17323", stores: "uniform codes; run from them", arm: "RTN" },
  { name: "gptaq", paper: "2504.02692", stores: "as GPTQ; calibrated on the drift from full precision", arm: "GPTAQ" },
  {
    name: "awq",
    paper: "2306.00978",
    stores: "uniform codes, a factor for each column unless folded; run from them",
    arm: "AWQ",
  },
  {
    name: "slimLlm",
    paper: "2405.14917",
    stores: "codes of one bit less or more by group; run from them",
    arm: "SliM-LLM",
  },
  { name: "billm", paper: "2402.04291", stores: "two signs a weight and their levels; decoded to run", arm: "BiLLM" },
  { name: "aqlm", paper: "2401.06118", stores: "codes of vectors and codebooks; decoded to run", arm: "AQLM 2x4 g4" },
  { name: "pt2Llm", paper: "2510.03267", stores: "trits, five a byte; decoded to run", arm: "PT²-LLM" },
  {
    name: "sbvr",
    paper: "2509.18172",
    stores: "bits that choose coefficients of a table; decoded to run",
    arm: "SBVR",
  },
  { name: "sdqLlm", paper: "2510.03275", stores: "trits of a resampled signal; decoded to run", arm: "SDQ-LLM" },
  {
    name: "dllmQuant",
    paper: "2508.14090",
    stores: "as GPTQ; calibrated on the sampler's own states",
    arm: "DLLMQuant",
  },
];

/** Every method with its paper, counted bits, and place by accuracy among those listed. */
export function placesTable(means: readonly Row[]): Table {
  const placed = methods.map((facts) => {
    const mean = means.find(({ label, task }) => label === facts.arm && task === "mean");
    if (!mean) throw new RangeError(`Cannot place ${facts.name}: there is no row of "${facts.arm}"`);
    return { ...facts, mean };
  }).sort((a, b) => b.mean.value - a.mean.value);
  const lines = placed.map(({ name, paper, stores, mean }, place) => [
    name,
    paper && `[${paper}](https://arxiv.org/abs/${paper})`,
    stores,
    mean.bitsPerWeight.toFixed(3),
    `${(100 * mean.value).toFixed(1)} ± ${(100 * mean.standardError).toFixed(1)}`,
    `${place + 1} of ${placed.length}`,
  ]);
  return textTable(["method", "paper", "what it stores", "bits", "accuracy (%)", "place"], lines, { labels: 3 });
}

/** Orderings of papers, and what may be behind it where the testbed has another. */
const orderings: readonly { readonly a: string; readonly b: string; readonly why: string }[] = [
  {
    a: "Quant-dLLM official",
    b: "GPTQ",
    why: "both calibrate on masked windows here, where the paper's GPTQ sees visible text",
  },
  {
    a: "GPTAQ",
    b: "GPTQ",
    why: "two blocks leave little drift to correct; the bound shows what there is",
  },
  {
    a: "DLLMQuant",
    b: "GPTQ",
    why: "its paper quantises activations at four bits, where its clipping acts; at two bits of weights alone its " +
      "calibration gives the smaller layer errors and the larger divergence of the model, as the table shows",
  },
  {
    a: "BiLLM",
    b: "GPTQ",
    why: "its paper counts 1.08 bits for it and two for GPTQ; counted with its bitmaps it stores the larger model",
  },
  {
    a: "PT²-LLM",
    b: "GPTQ",
    why:
      "it has three levels where GPTQ has four; its paper compares on models of billions of weights, whose GPTQ breaks down at two bits",
  },
  {
    a: "SBVR",
    b: "GPTQ",
    why: "its paper is about four bits and speed; two coefficients give four levels that always hold zero",
  },
  {
    a: "SDQ-LLM",
    b: "GPTQ",
    why:
      "at this ratio of over-sampling a weight has little more than one trit, and the errors of the loop are not those that H weighs",
  },
  {
    a: "AQLM 2x4 g4",
    b: "GPTQ",
    why: "codebooks of the paper hold 2^16 entries, which the testbed's small matrices cannot pay for",
  },
];

/** The papers' orderings that did not reproduce: "a above b" in the paper, and what was measured. */
export function orderingLines(verdicts: readonly Verdict[]): string {
  return orderings.flatMap(({ a, b, why }) => {
    const own = verdicts.filter((c) => c.a === a && c.b === b);
    if (own.length === 0) throw new RangeError(`Cannot judge ${a} against ${b}: there is no such comparison`);
    if (own.every(({ verdict }) => verdict === "better")) return [];
    return [`${pairLines(own)[0]}. A guess at the reason: ${why}.`];
  }).join("\n");
}

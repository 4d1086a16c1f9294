/** One of each figure on made-up rows: what the tests check and what an eye may look at. */
import { differenceDots, errorHeatmap, paretoFront } from "../../lib/report/charts.ts";
import { unmaskingFigure, type UnmaskingState } from "../../lib/report/curves.ts";
import type { Figure } from "../../lib/report/figure.ts";
import { ablationDots, calibrationCurve, mainBars } from "../../lib/report/figures.ts";
import { type PaperNumbers, parsePaper } from "../../lib/report/paper.ts";
import { mainRows, row } from "./fake_rows.ts";

export function paper(name: string): PaperNumbers {
  return parsePaper(JSON.parse(Deno.readTextFileSync(new URL(`../../data/paper/${name}.json`, import.meta.url))));
}

const seeds = [1, 2, 3];
const noise = (...n: number[]) => 0.012 * (n.reduce((a, b, i) => a + b * (7 + 4 * i), 0) % 7 - 3);

const settings: Record<string, [string, number][]> = {
  a: [["without MCS", 0.41], ["with MCS", 0.52]],
  b: [["0 %", 0.47], ["5 %", 0.52], ["10 %", 0.5], ["15 %", 0.46], ["gated", 0.54]],
  c: [["plain", 0.31], ["RSR", 0.42], ["RSR + DOR", 0.52], ["plus", 0.61]],
  d: [["16", 0.44], ["64", 0.5], ["128", 0.52], ["256", 0.53]],
};

/** A prompt of two tokens, and six after it; the last step leaves one masked. */
export const unmasking: UnmaskingState[] = [
  { tokens: [7, 7, 9, 9, 9, 9, 9, 9], masked: 6, done: 0 },
  {
    tokens: [7, 7, 0, 9, 9, 9, 9, 9],
    masked: 5,
    done: 1,
    committed: [{ position: 2, token: 0, confidence: 0.98 }],
  },
  { tokens: [7, 7, 0, 9, 9, 9, 9, 9], masked: 5, done: 2 },
  {
    tokens: [7, 7, 0, 1, 2, 3, 4, 9],
    masked: 1,
    done: 3,
    committed: [[5, 3, 0.9], [3, 1, 0.7], [6, 4, 0.4], [4, 2, 0.2]].map(([position, token, confidence]) => (
      { position, token, confidence }
    )),
  },
];

export function gallery(): Record<string, Figure> {
  const bits = [["rtn", 2.1, 2.7], ["rtn", 3.1, 2.0], ["gptq", 2.1, 2.1], ["gptq", 3.1, 1.75], [
    "daq(official)",
    2.25,
    1.96,
  ], ["daq(plus)", 2.25, 1.81]] as const;
  const linears = ["q_proj", "k_proj", "v_proj", "attn_out", "ff_proj", "up_proj", "ff_out"];
  return {
    main: mainBars(mainRows(), paper("table1"), {
      title: "Accuracy at 2 bits by task",
      ours: "nano-llada (this run)",
    }),
    "main without the paper": mainBars(mainRows(), undefined),
    ablations: ablationDots(
      Object.entries(settings).flatMap(([ablation, list], a) =>
        list.flatMap(([setting, value], s) =>
          seeds.map((seed) => row({ ablation, setting, seed, value: value + noise(a, s, seed) }))
        )
      ),
      paper("table2"),
      { ours: "nano-llada (this run)" },
    ),
    heatmap: errorHeatmap(
      Array.from({ length: 6 }, (_, layer) => layer).flatMap((layer) =>
        linears.map((linear, l) => ({
          layer,
          linear,
          value: 0.05 + 0.02 * l + 0.01 * layer + Math.abs(noise(layer, l)),
        }))
      ).slice(0, -1),
      { title: "Relative output error", subtitle: "daq(plus), masked calibration" },
    ),
    planes: errorHeatmap(
      linears.flatMap((layer, l) =>
        Array.from(
          { length: 16 },
          (_, block) => ({ layer, block, value: (l + block * 3) % 7 === 0 ? 3 : (l * 5 + block) % 9 === 0 ? 1 : 2 }),
        )
      ),
      { x: "block", value: "planes", digits: 0, title: "Planes of each column block" },
    ),
    differences: differenceDots([
      ["GPTQ + MCS", "Quant-dLLM official", "accuracy", 0.013, 0.009, "no clear difference"],
      ["Quant-dLLM official", "Quant-dLLM plus", "accuracy", 0.051, 0.006, "better"],
      ["Quant-dLLM official", "levels", "accuracy", -0.021, 0.004, "worse"],
      ["GPTQ + MCS", "Quant-dLLM official", "nats per token", -0.005, 0.012, "no clear difference"],
      ["Quant-dLLM official", "Quant-dLLM plus", "nats per token", -0.084, 0.004, "better"],
    ].map(([a, b, metric, difference, standardError, verdict]) => {
      const [d, e] = [Number(difference), Number(standardError)];
      const names = { a: String(a), b: String(b), metric: String(metric), verdict: String(verdict) };
      return {
        ...names,
        difference: d,
        standardError: e,
        interval: [d - 2.4 * e, d + 2.4 * e] as const,
        n: 400,
        seeds: 5,
      };
    })),
    pareto: paretoFront(
      [
        ...bits.flatMap(([method, bitsPerWeight, value]) =>
          seeds.flatMap((seed) => [
            row({ method, bitsPerWeight, seed, value: 1.2 - value / 4 + noise(seed, 3) }),
            row({ method, bitsPerWeight, seed, metric: "nats per token", value: value + noise(seed, 3) }),
          ])
        ),
        ...seeds.map((seed) => row({ method: "full precision", bitsPerWeight: 16, seed, value: 0.9 })),
        ...seeds.map((seed) =>
          row({ method: "full precision", bitsPerWeight: 16, seed, metric: "nats per token", value: 1.71 })
        ),
      ],
      { named: true },
    ),
    unmasking: unmaskingFigure(unmasking, {
      decode: (token) => ["the", " sky", "\n", " is", " blue", "."][token],
      title: "Six tokens in three steps",
    }),
    calibration: calibrationCurve(
      ["gptq", "daq(plus)"].flatMap((method, m) =>
        [8, 16, 32, 64, 128].flatMap((calibrationSize, c) =>
          seeds.map((seed) =>
            row({ method, calibrationSize, seed, value: 0.4 + 0.1 * m + 0.02 * c + noise(m, c, seed) })
          )
        )
      ),
      paper("table2"),
    ),
  };
}

/** What `reproduce` runs: the paper's comparison, its ablations and the curve of bits, as values. */
import {
  abmp,
  type Arm,
  choiceTasks,
  daq,
  gptq,
  levels,
  type Method,
  rtn,
  scaled8,
  simulateMasks,
  tasks,
  visible,
} from "quant-dllm";

/** Columns that share scales, as in the paper: two groups per row of nano-llada's linears, four or more where it counts. */
export const group = 128;

/** Sizes that differ between the full run and `--quick`. */
export interface Scale {
  readonly seeds: readonly number[];
  /** Items per choice task. */
  readonly items: number;
  /** Windows for the likelihood bound. */
  readonly elboWindows: number;
  readonly calibrationWindows: number;
  /** Which studies are left out. */
  readonly without: readonly string[];
}

export const full: Scale = {
  seeds: [1, 2, 3, 4, 5],
  items: 400,
  elboWindows: 256,
  calibrationWindows: 128,
  without: [],
};

export const quick: Scale = {
  seeds: [1],
  items: 50,
  elboWindows: 32,
  calibrationWindows: 64,
  without: ["b", "c", "d", "e", "bits"],
};

/** Two settings of a study, by label: is the first better than the second? */
export type Pair = readonly [a: string, b: string];

export interface Study {
  readonly id: string;
  readonly title: string;
  readonly settings: readonly Arm[];
  /** The comparisons that matter, of which verdicts are given. */
  readonly pairs: readonly Pair[];
}

/** A point of the curve of bits: one method at one setting of its size. */
export interface Point {
  /** What the method is called in the main table. */
  readonly method: string;
  readonly arm: Arm;
}

export interface Plan {
  readonly main: Study;
  readonly ablations: readonly Study[];
  /** Every method at several sizes; empty where the scale leaves it out. */
  readonly points: readonly Point[];
}

/** The studies at a scale; `maskId` is that of the model. */
export function studies(scale: Scale, maskId: number): Plan {
  const masked: Arm["calibration"] = (corpus, seed) => simulateMasks(corpus, { maskId, seed });
  const plain: Arm["calibration"] = (corpus) => visible(corpus);
  const bound = { task: tasks.elbo, limit: scale.elboWindows };
  // The paper's ablations look at MMLU alone; two more tasks whose choices are one token (exact, one pass per item) bring the errors down.
  const oneToken = [tasks.nano_mmlu, tasks.nano_winogrande, tasks.nano_piqa];
  const short = [...oneToken.map((task) => ({ task, limit: scale.items })), bound];
  const whole = [...choiceTasks.map((task) => ({ task, limit: scale.items })), bound];
  const arm = (
    label: string,
    method: Method | undefined,
    calibration: Arm["calibration"],
    { tasks = short, windows = scale.calibrationWindows }: Partial<Pick<Arm, "tasks" | "windows">> = {},
  ): Arm => ({ label, method, calibration, windows, tasks });
  const planes = (profile: "paper" | "official" | "plus", options: Partial<Parameters<typeof daq>[0]> = {}) =>
    daq({ bits: 2, group, profile, ...options });
  const pooled = (ratio: number) => abmp({ ratio, scope: "model" });
  const official = planes("official", { bits: pooled(0.05) });
  const plus = planes("plus"), uniform = levels({ bits: 2, group });

  const main: Study = {
    id: "table1",
    title: "Main comparison, two bits in groups of 128 (Table 1)",
    settings: [
      arm(names.full, undefined, undefined, { tasks: whole }),
      arm(names.rtn, rtn({ bits: 2, group }), plain, { tasks: whole }),
      arm(names.gptq, gptq({ bits: 2, group }), plain, { tasks: whole }),
      arm(names.gptqMasked, gptq({ bits: 2, group }), masked, { tasks: whole }),
      arm(names.paper, planes("paper", { bits: pooled(0.05) }), masked, { tasks: whole }),
      arm(names.official, official, masked, { tasks: whole }),
      arm(names.plus, plus, masked, { tasks: whole }),
      arm(names.levels, uniform, masked, { tasks: whole }),
    ],
    pairs: [
      [names.gptq, names.rtn],
      [names.gptqMasked, names.gptq],
      [names.official, names.gptq],
      [names.official, names.gptqMasked],
      [names.official, names.paper],
      [names.plus, names.official],
      [names.plus, names.gptqMasked],
      [names.levels, names.official],
      [names.levels, names.gptqMasked],
      [names.plus, names.levels],
      [names.full, names.plus],
    ],
  };
  const pair = (prefix: string, method: Method) => [
    arm(`${prefix}without MCS`, method, plain),
    arm(`${prefix}with MCS`, method, masked),
  ];
  const sizes = [16, 64, 128, 256];
  const all: Study[] = [
    {
      id: "a",
      title: "MCS: calibration on masked inputs (Table 2a)",
      settings: [
        ...pair("", official),
        ...pair("GPTQ, ", gptq({ bits: 2, group })),
        ...pair("plus, ", plus),
        ...pair("levels, ", uniform),
      ],
      pairs: ["", "GPTQ, ", "plus, ", "levels, "].map((prefix) => [`${prefix}with MCS`, `${prefix}without MCS`]),
    },
    {
      id: "b",
      title: "ABMP: share of groups that gain and lose a plane, ranked over all linears (Table 2b)",
      settings: [
        ...[0, 0.05, 0.1, 0.15].map((ratio) =>
          arm(
            `${Math.trunc(100 * ratio)} %`,
            ratio > 0 ? planes("official", { bits: pooled(ratio) }) : planes("official"),
            masked,
          )
        ),
        arm("gated", planes("official", { bits: abmp({ gate: "measured" }) }), masked),
        arm("plus, 0 %", plus, masked),
        arm("plus, gated", planes("plus", { bits: abmp({ gate: "measured" }) }), masked),
      ],
      pairs: [...["5 %", "10 %", "15 %", "gated"].map((a): Pair => [a, "0 %"]), ["plus, gated", "plus, 0 %"]],
    },
    {
      id: "c",
      title: "DAQ: parts of the fit (Table 2c)",
      settings: [
        arm("plain", planes("official", { rsr: false, dor: false }), masked),
        arm("RSR", planes("official", { dor: false }), masked),
        arm("RSR + DOR", planes("official"), masked),
        arm("plus", plus, masked),
      ],
      pairs: [["RSR", "plain"], ["RSR + DOR", "RSR"], ["plus", "RSR + DOR"]],
    },
    {
      id: "d",
      title: "Calibration windows (Table 2d)",
      settings: sizes.map((windows) => arm(String(windows), official, masked, { windows })),
      pairs: [["64", "16"], ["128", "64"], ["256", "128"]],
    },
    {
      id: "e",
      title: "Group size, each at the bits that it takes",
      settings: [128, 64, 32].flatMap((group) => [
        arm(`GPTQ g${group}`, gptq({ bits: 2, group }), masked),
        arm(`official g${group}`, daq({ bits: 2, group, profile: "official" }), masked),
        arm(`plus g${group}`, daq({ bits: 2, group }), masked),
        arm(`levels g${group}`, levels({ bits: 2, group }), masked),
      ]),
      pairs: [128, 64, 32].flatMap((g): Pair[] => [
        [`official g${g}`, `GPTQ g${g}`],
        [`plus g${g}`, `official g${g}`],
        [`levels g${g}`, `official g${g}`],
      ]),
    },
  ];
  return {
    main,
    ablations: all.filter(({ id }) => !scale.without.includes(id)),
    points: scale.without.includes("bits") ? [] : points(arm, masked, plain),
  };
}

/** What tables and figures call the arms of the main comparison. */
export const names = {
  full: "full precision",
  rtn: "RTN",
  gptq: "GPTQ",
  gptqMasked: "GPTQ + MCS",
  paper: "Quant-dLLM paper profile",
  official: "Quant-dLLM official profile",
  plus: "Quant-dLLM plus profile",
  levels: "levels",
} as const;

/** Each method over its own bits, group sizes and types of scales. */
function points(
  arm: (label: string, method: Method | undefined, calibration: Arm["calibration"]) => Arm,
  masked: Arm["calibration"],
  plain: Arm["calibration"],
): Point[] {
  const uniformSizes = [[2, 256], [2, 128], [2, 64], [2, 32], [3, 256], [3, 128], [4, 128]] as const;
  const groupedSizes = [[1, 128], [1, 64], [2, 256], [2, 128], [2, 64], [2, 32], [3, 256], [3, 128]] as const;
  const point = (method: string, made: Method, calibration: Arm["calibration"]): Point => ({
    method,
    arm: arm(made.name, made, calibration),
  });
  const grouped = [
    [names.official, (bits: number, group: number) => daq({ bits, group, profile: "official" })],
    [names.plus, (bits: number, group: number) => daq({ bits, group })],
    [names.levels, (bits: number, group: number) => levels({ bits, group })],
  ] as const;
  return [
    { method: names.full, arm: arm(names.full, undefined, undefined) },
    ...uniformSizes.map(([bits, group]) => point(names.rtn, rtn({ bits, group }), plain)),
    ...uniformSizes.map(([bits, group]) => point(names.gptqMasked, gptq({ bits, group }), masked)),
    ...grouped.flatMap(([name, make]) => [
      ...groupedSizes.map(([bits, group]) => point(name, make(bits, group), masked)),
      // Row scales in one byte pay for smaller groups.
      ...[128, 64].map((group) => point(name, scaled8(make(2, group)), masked)),
    ]),
  ];
}

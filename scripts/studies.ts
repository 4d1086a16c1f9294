/** What `reproduce` runs: the paper's comparison and ablations as values. */
import { abmp, type Arm, choiceTasks, daq, gptq, type Method, rtn, simulateMasks, tasks, visible } from "quant-dllm";

/** Columns that share scales: the default of the nano testbed, eight blocks per row of 256. */
export const group = 32;
/** Row scales of two planes for 32 columns take as many bits as one scale for 16 (and column scales as many as zero points): equal counted bits. */
export const uniformGroup = group / 2;

/** Sizes that differ between the full run and `--quick`. */
export interface Scale {
  readonly seeds: readonly number[];
  /** Items per choice task in the main comparison, and in ablations. */
  readonly mainItems: number;
  readonly ablationItems: number;
  /** Windows for the likelihood bound. */
  readonly elboWindows: number;
  readonly calibrationWindows: number;
  readonly calibrationSizes: readonly number[];
  /** Whether to include ABMP gated by measured losses, which fits every block several times. */
  readonly gated: boolean;
}

export const full: Scale = {
  seeds: [1, 2, 3],
  mainItems: 300,
  ablationItems: 400,
  elboWindows: 128,
  calibrationWindows: 128,
  calibrationSizes: [16, 64, 128, 256],
  gated: true,
};

export const quick: Scale = {
  seeds: [1],
  mainItems: 50,
  ablationItems: 100,
  elboWindows: 32,
  calibrationWindows: 64,
  calibrationSizes: [16, 64],
  gated: false,
};

export interface Study {
  readonly id: string;
  readonly title: string;
  /** Settings from worst to best as the paper has them, for the line that says whether its ordering holds here; others are not compared. */
  readonly paperOrder: readonly string[];
  readonly settings: readonly Arm[];
}

/** The studies at a scale; `maskId` is that of the model. */
export function studies(
  scale: Scale,
  maskId: number,
): { readonly main: Study; readonly ablations: readonly Study[]; readonly curve: Study } {
  const masked: Arm["calibration"] = (corpus, seed) => simulateMasks(corpus, { maskId, seed });
  const plain: Arm["calibration"] = (corpus) => visible(corpus);
  const bound = { task: tasks.elbo, limit: scale.elboWindows };
  // The paper's ablations look at MMLU alone; two more tasks whose choices are one token (exact, one pass per item) bring the errors down.
  const oneToken = [tasks.nano_mmlu, tasks.nano_winogrande, tasks.nano_piqa];
  const short = [...oneToken.map((task) => ({ task, limit: scale.ablationItems })), bound];
  const whole = [...choiceTasks.map((task) => ({ task, limit: scale.mainItems })), bound];
  const arm = (
    label: string,
    method: Method | undefined,
    calibration: Arm["calibration"],
    { tasks = short, windows = scale.calibrationWindows }: Partial<Pick<Arm, "tasks" | "windows">> = {},
  ): Arm => ({ label, method, calibration, windows, tasks });
  const quant = (profile: "paper" | "official" | "plus", options: Partial<Parameters<typeof daq>[0]> = {}) =>
    daq({ bits: 2, group, profile, ...options });
  const pooled = (ratio: number) => abmp({ ratio, scope: "model" });
  const main: Study = {
    id: "table1",
    title: "Main comparison at equal counted bits (Table 1)",
    paperOrder: ["GPTQ", "Quant-dLLM official profile", "full precision"],
    settings: [
      arm("full precision", undefined, undefined, { tasks: whole }),
      arm("RTN", rtn({ bits: 2, group: uniformGroup }), plain, { tasks: whole }),
      arm("GPTQ", gptq({ bits: 2, group: uniformGroup }), plain, { tasks: whole }),
      arm("GPTQ + MCS", gptq({ bits: 2, group: uniformGroup }), masked, { tasks: whole }),
      arm("Quant-dLLM paper profile", quant("paper", { bits: pooled(0.05) }), masked, { tasks: whole }),
      arm("Quant-dLLM official profile", quant("official", { bits: pooled(0.05) }), masked, { tasks: whole }),
      arm("Quant-dLLM plus profile", quant("plus"), masked, { tasks: whole }),
    ],
  };
  const ablations: Study[] = [
    {
      id: "a",
      title: "MCS: calibration on masked inputs (Table 2a)",
      paperOrder: ["without MCS", "with MCS"],
      settings: [
        arm("without MCS", quant("official", { bits: pooled(0.05) }), plain),
        arm("with MCS", quant("official", { bits: pooled(0.05) }), masked),
        arm("plus, without MCS", quant("plus"), plain),
        arm("plus, with MCS", quant("plus"), masked),
      ],
    },
    {
      id: "b",
      title: "ABMP: share of blocks that gain and lose a plane, ranked over all linears (Table 2b)",
      paperOrder: ["15 %", "0 %", "10 %", "5 %"],
      settings: [
        ...[0, 0.05, 0.1, 0.15].map((ratio) =>
          arm(`${Math.trunc(100 * ratio)} %`, quant("official", { bits: pooled(ratio) }), masked)
        ),
        ...(scale.gated
          ? [
            arm("gated", quant("official", { bits: abmp({ gate: "measured" }) }), masked),
            arm("plus, gated", quant("plus", { bits: abmp({ gate: "measured" }) }), masked),
          ]
          : []),
      ],
    },
    {
      id: "c",
      title: "DAQ: parts of the fit (Table 2c)",
      paperOrder: ["plain", "RSR", "RSR + DOR"],
      settings: [
        arm("plain", quant("official", { rsr: false, dor: false }), masked),
        arm("RSR", quant("official", { dor: false }), masked),
        arm("RSR + DOR", quant("official"), masked),
        arm("plus", quant("plus"), masked),
      ],
    },
    {
      id: "d",
      title: "Calibration windows (Table 2d)",
      paperOrder: ["256", "64", "128"],
      settings: scale.calibrationSizes.map((windows) =>
        arm(String(windows), quant("official", { bits: pooled(0.05) }), masked, { windows })
      ),
    },
  ];
  const curve: Study = {
    id: "curve",
    title: "Counted bits and loss",
    paperOrder: [],
    settings: [
      ...[2, 3, 4].map((bits) => arm(`RTN ${bits}b g${group}`, rtn({ bits, group }), plain)),
      ...[2, 3, 4].map((bits) => arm(`GPTQ ${bits}b g${group}`, gptq({ bits, group }), masked)),
      ...[1, 2, 3].map((bits) => arm(`official ${bits}b g${group}`, quant("official", { bits }), masked)),
      ...[1, 2, 3].map((bits) => arm(`plus ${bits}b g${group}`, quant("plus", { bits }), masked)),
      arm("plus 2b g64", quant("plus", { group: 64 }), masked),
      arm("GPTQ 2b g16", gptq({ bits: 2, group: uniformGroup }), masked),
    ],
  };
  return { main, ablations, curve };
}

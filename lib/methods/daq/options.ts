/** What can be chosen of DAQ, and the three named settings. A profile is a plain record of options, so that every ablation is a value. */
import type { Abmp } from "../abmp.ts";
import type { Allotment } from "../allotment.ts";
import type { Compensation } from "../../quant/block_error.ts";

export type DaqProfile = "paper" | "official" | "plus";

/** Distribution-aware outlier re-weighting (DOR): weights whose saliency z-score exceeds `sigma` count `weight` times in the squared error. */
export interface Dor {
  readonly sigma: number;
  /** Lambda² of Eq. 7. GAP(paper §DAQ): lambda is not stated; the official code uses 3. */
  readonly weight: number;
  /**
   * D² of the saliency W² / D²: `conditional` U_jj², the inverse second moment given the columns before j; `marginal` [H⁻¹]_jj.
   * GAP(paper §DAQ): D comes "from the diagonal inverse" of the second moment, which admits both.
   */
  readonly scale: "conditional" | "marginal";
}

/** Row-column rescaling: how often, and when to stop early. */
export interface Rsr {
  readonly sweeps: number;
  /** Stop when a sweep lowers the weighted loss by less than this share. */
  readonly tolerance: number;
}

export interface DaqSettings {
  readonly dor: Dor | false;
  /** `false` keeps the initial planes, mean |W| by row and column. */
  readonly rsr: Rsr | false;
  /** All K signs of a weight at once, or plane by plane on what the earlier planes leave (Alg. 2). */
  readonly signs: "joint" | "per-order";
  /** What later groups are told of a group's error: each is a column block of the compensation. */
  readonly compensation: Compensation;
  /** Whether the columns of a group are rounded all at once, or one after another as in GPTQ. */
  readonly inside: "all-at-once" | "sequential";
  /** Whether column j counts 1 / U_jj² in the fit of the scales. */
  readonly columnWeights: boolean;
  /** Rounds of signs and scale refits in the conditional second moment of a group, G = U_bb⁻¹ U_bb⁻ᵀ. */
  readonly refitRounds: number;
  /** Passes of refinement over the whole matrix in the full damped second moment. */
  readonly refineRounds: number;
  /** Sweeps of coordinate descent over the codes of a group before and after its scales are refit, in each pass. */
  readonly refineSweeps: number;
  /** Added to the diagonal of H as a share of its mean. */
  readonly damping: number;
}

export interface DaqOptions extends Partial<DaqSettings> {
  /** Planes per weight, 1 to 4; a rule that shares them out among groups; or those of each group. */
  readonly bits: number | Abmp | Allotment;
  /** Columns that share scales; the last group of a linear may be narrower. */
  readonly group: number;
  readonly profile?: DaqProfile;
}

/** The rule that shares planes out, where `bits` is one. */
export function ruleOf(bits: DaqOptions["bits"]): Abmp | undefined {
  return typeof bits === "number" || "orders" in bits ? undefined : bits;
}

/** The named settings. */
export const profiles: Readonly<Record<DaqProfile, DaqSettings>> = {
  /** The paper's text. GAP(paper §DAQ): sweeps run "until convergence" of an unstated kind; error compensation is not mentioned. */
  paper: {
    dor: { sigma: 3, weight: 4, scale: "marginal" },
    rsr: { sweeps: 100, tolerance: 1e-4 },
    signs: "per-order",
    compensation: "none",
    inside: "all-at-once",
    columnWeights: false,
    refitRounds: 0,
    refineRounds: 0,
    refineSweeps: 0,
    damping: 0.01,
  },
  /** What the code of its authors does. */
  official: {
    dor: { sigma: 2, weight: 3, scale: "conditional" },
    rsr: { sweeps: 15, tolerance: 0 },
    signs: "joint",
    compensation: "diagonal",
    inside: "all-at-once",
    columnWeights: false,
    refitRounds: 0,
    refineRounds: 0,
    refineSweeps: 0,
    damping: 0.01,
  },
  /** The same stored form, fitted to the output error. */
  plus: {
    dor: false,
    rsr: { sweeps: 15, tolerance: 1e-3 },
    signs: "joint",
    compensation: "exact",
    inside: "sequential",
    columnWeights: true,
    refitRounds: 3,
    refineRounds: 3,
    refineSweeps: 2,
    damping: 0.01,
  },
};

/** The settings of `options`: those of its profile (`plus` by default) with its own in their place. */
export function settingsOf({ profile = "plus", ...own }: DaqOptions): DaqSettings {
  const base = profiles[profile];
  if (!base) {
    throw new RangeError(`Cannot make daq with profile ${JSON.stringify(profile)}: wanted ${Object.keys(profiles)}`);
  }
  const settings = { ...base } as Record<string, unknown>;
  for (const key of Object.keys(base)) {
    const value = own[key as keyof DaqSettings];
    if (value !== undefined) settings[key] = value;
  }
  return settings as unknown as DaqSettings;
}

/** The canonical name: profile, bits, group, and what differs from the profile. */
export function nameOf(options: DaqOptions): string {
  const { profile = "plus", bits, group } = options;
  const settings = settingsOf(options);
  const parts = [`daq-${profile}`, typeof bits === "number" ? `${bits}b` : bits.name, `g${group}`];
  for (const key of Object.keys(settings) as (keyof DaqSettings)[]) {
    const text = valueText(settings[key]);
    if (text !== valueText(profiles[profile][key])) parts.push(`${key}=${text}`);
  }
  return parts.join("-");
}

function valueText(value: DaqSettings[keyof DaqSettings]): string {
  return typeof value === "object" ? Object.values(value).join("/") : `${value}`;
}

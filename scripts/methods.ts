/** Methods by the names that commands know them by. */
import { abmp, daq, except, gptq, levels, type Method, rtn, scaled8 } from "quant-dllm";
import { count, number, oneOf, type Option, positiveInteger, refuse } from "./cli.ts";

/** Names of methods, and which of the options below each of them takes. */
const takes = {
  "quant-dllm": ["abmp", "row-scale-bits"],
  "quant-dllm-official": ["abmp", "row-scale-bits"],
  "quant-dllm-paper": ["abmp", "row-scale-bits"],
  levels: ["abmp", "row-scale-bits"],
  gptq: [],
  rtn: [],
} as const;
type MethodName = keyof typeof takes;
const methodNames = Object.keys(takes) as MethodName[];
const outsideBits = oneOf("16", "8", "4");

/** The options of a command that makes a method, as they are typed. */
export const methodOptions = {
  method: {
    default: "levels",
    help: "levels, quant-dllm (the plus profile), quant-dllm-official, quant-dllm-paper, gptq, rtn",
    check: oneOf(...methodNames),
  },
  bits: {
    default: "2",
    help: "bits per weight: planes for quant-dllm",
    check: oneOf("1", "2", "3", "4", "5", "6", "7", "8"),
  },
  group: {
    default: "auto",
    help: "columns that share scales; auto: 128 (levels: 64), or 32 for models narrower than 1024",
    check: count("auto"),
  },
  abmp: {
    default: "0",
    help: "share of blocks that gain and lose a plane, 0 to 0.5 (quant-dllm and levels)",
    check: number({ most: 0.5 }),
  },
  "row-scale-bits": {
    default: "16",
    help: "16, or 8 for row scales in one byte (quant-dllm and levels)",
    check: oneOf("16", "8"),
  },
  "embed-bits": { default: "16", help: "bits of the embedding: 16 leaves it as it is, 8 or 4", check: outsideBits },
  "head-bits": { default: "16", help: "bits of the head: 16 leaves it as it is, 8 or 4", check: outsideBits },
} as const satisfies Record<string, Option>;

type Typed = Readonly<Record<keyof typeof methodOptions, string>>;

/** The method that the options name, for a model of this width. Throws `RangeError` for values that do not exist. */
export function methodOf(options: Typed, width: number): Method {
  // Levels have one row scale where planes have two: groups of half the width take the same bits.
  const wide = options.method === "levels" ? 64 : 128;
  const group = options.group === "auto" ? width < 1024 ? 32 : wide : positiveInteger("group", options.group);
  const outside = (name: "embed-bits" | "head-bits") => {
    const bits = Number(options[name]);
    return bits === 16 ? undefined : rtn({ bits, group });
  };
  const method = linearMethod(options, group);
  const [embed, head] = [outside("embed-bits"), outside("head-bits")];
  return embed || head ? except(method, { ...(embed ? { embed } : {}), ...(head ? { head } : {}) }) : method;
}

function linearMethod(options: Typed, group: number): Method {
  const bits = Number(options.bits);
  const share = Number(options.abmp);
  const planes = share > 0 ? abmp({ average: bits, ratio: share }) : bits;
  const scaled = (method: Method): Method => options["row-scale-bits"] === "8" ? scaled8(method) : method;
  switch (options.method as MethodName) {
    case "quant-dllm":
      return scaled(daq({ bits: planes, group, profile: "plus" }));
    case "quant-dllm-official":
      return scaled(daq({ bits: planes, group, profile: "official" }));
    case "quant-dllm-paper":
      return scaled(daq({ bits: planes, group, profile: "paper" }));
    case "levels":
      return scaled(levels({ bits: planes, group }));
    case "gptq":
      return gptq({ bits, group });
    case "rtn":
      return rtn({ bits, group });
  }
}

/** Exits 2 for an option that the method does not have: dropped without a word, it would be believed. */
export function checkMethodOptions(options: Typed): void {
  const own: readonly string[] = takes[options.method as MethodName];
  for (const name of ["abmp", "row-scale-bits"] as const) {
    const isDefault = Number(options[name]) === Number(methodOptions[name].default);
    if (!isDefault && !own.includes(name)) {
      const those = methodNames.filter((method) => (takes[method] as readonly string[]).includes(name)).join(", ");
      refuse(`--${name} is ${options[name]}, but ${options.method} has no such option; it is for ${those}`);
    }
  }
  const most = options.method.startsWith("quant-dllm") || options.method === "levels" ? 4 : 8;
  if (Number(options.bits) > most) refuse(`--bits is ${options.bits}, but ${options.method} takes at most ${most}`);
}

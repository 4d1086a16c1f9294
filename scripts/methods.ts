/** Methods by the names that commands know them by. */
import {
  abmp,
  aqlm,
  awq,
  billm,
  daq,
  dllmQuant,
  except,
  gptaq,
  gptq,
  levels,
  type Method,
  pt2Llm,
  rtn,
  sbvr,
  scaled8,
  sdqLlm,
  slimLlm,
} from "quant-dllm";
import { count, number, oneOf, type Option, positiveInteger, refuse } from "./cli.ts";

/** Options that some methods take. */
type Own =
  | "bits"
  | "group"
  | "abmp"
  | "parts"
  | "row-scale-bits"
  | "alpha"
  | "rate"
  | "books"
  | "book-bits"
  | "vector"
  | "fold";
type Typed = Readonly<Record<Own | "method" | "embed-bits" | "head-bits", string>>;

/** What a method is made of, as it was typed and checked. */
interface Given {
  readonly bits: number;
  readonly group: number;
  /** Planes, shared out where that was asked for. */
  readonly planes: Parameters<typeof daq>[0]["bits"];
  readonly typed: Typed;
}

interface Entry {
  /** Which of the options it takes. */
  readonly takes: readonly Own[];
  /** The bits that it takes. */
  readonly bits: readonly number[];
  readonly make: (given: Given) => Method;
}

const upTo = (most: number) => Array.from({ length: most }, (_, i) => i + 1);
const planes = ["bits", "group", "abmp", "row-scale-bits"] as const, grid = ["bits", "group"] as const;
/** Of the fit: row-column rescaling, outlier re-weighting. */
const partsOf = (parts: string) =>
  parts === "plain" ? { rsr: false, dor: false } as const : parts === "rsr" ? { dor: false } as const : {};
const profile = (profile: "plus" | "official" | "paper"): Entry => ({
  takes: [...planes, "parts"],
  bits: upTo(4),
  make: ({ planes, group, typed }) => daq({ bits: planes, group, profile, ...partsOf(typed.parts) }),
});

/** Methods by name. */
const methods = {
  levels: { takes: planes, bits: upTo(3), make: ({ planes, group }) => levels({ bits: planes, group }) },
  "quant-dllm": profile("plus"),
  "quant-dllm-official": profile("official"),
  "quant-dllm-paper": profile("paper"),
  gptq: { takes: grid, bits: upTo(8), make: ({ bits, group }) => gptq({ bits, group }) },
  gptaq: {
    takes: [...grid, "alpha"],
    bits: upTo(8),
    make: ({ bits, group, typed }) => gptaq({ bits, group, alpha: Number(typed.alpha) }),
  },
  awq: {
    takes: [...grid, "fold"],
    bits: upTo(8),
    make: ({ bits, group, typed }) => awq({ bits, group, fold: typed.fold === "yes" }),
  },
  "slim-llm": { takes: grid, bits: [2, 3], make: ({ bits, group }) => slimLlm({ bits, group }) },
  billm: { takes: ["group"], bits: [2], make: ({ group }) => billm({ group }) },
  aqlm: {
    takes: ["books", "book-bits", "vector"],
    bits: [2],
    make: ({ typed }) =>
      aqlm({ books: Number(typed.books), bits: Number(typed["book-bits"]), group: Number(typed.vector) }),
  },
  "pt2-llm": { takes: ["group"], bits: [2], make: ({ group }) => pt2Llm({ group }) },
  sbvr: { takes: grid, bits: upTo(6), make: ({ bits, group }) => sbvr({ sums: bits, group }) },
  "sdq-llm": {
    takes: ["group", "rate"],
    bits: [2],
    make: ({ group, typed }) => sdqLlm({ group, rate: Number(typed.rate) }),
  },
  dllmquant: { takes: grid, bits: upTo(8), make: ({ bits, group }) => dllmQuant({ bits, group }) },
  rtn: { takes: grid, bits: upTo(8), make: ({ bits, group }) => rtn({ bits, group }) },
} as const satisfies Record<string, Entry>;
type MethodName = keyof typeof methods;
const methodNames = Object.keys(methods) as MethodName[];
const outsideBits = oneOf("16", "8", "4");

/** The options of a command that makes a method, as they are typed. */
export const methodOptions = {
  method: {
    default: "levels",
    help: `${methodNames.join(", ")} (quant-dllm is the plus profile)`,
    check: oneOf(...methodNames),
  },
  bits: {
    default: "2",
    help: "bits per weight: planes for quant-dllm, sums for sbvr",
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
  parts: {
    default: "all",
    help: "of quant-dllm's fit: all, rsr (without the re-weighting of outliers), or plain (without RSR too)",
    check: oneOf("all", "rsr", "plain"),
  },
  "row-scale-bits": {
    default: "16",
    help: "16, or 8 for row scales in one byte (quant-dllm and levels)",
    check: oneOf("16", "8"),
  },
  alpha: { default: "0.25", help: "how much of the drift gptaq makes up for, 0 to 1", check: number({ most: 1 }) },
  rate: { default: "1.25", help: "over-sampling ratio of sdq-llm, 1 to 8", check: number({ least: 1, most: 8 }) },
  books: { default: "2", help: "codebooks of aqlm", check: count() },
  "book-bits": { default: "8", help: "bits of a code of aqlm, 1 to 16", check: oneOf(...upTo(16).map(String)) },
  vector: { default: "8", help: "neighbouring weights that a vector of aqlm stands for", check: count() },
  fold: {
    default: "no",
    help: "yes: factors of columns of awq go into the norm or linear before, where there is one",
    check: oneOf("no", "yes"),
  },
  "embed-bits": { default: "16", help: "bits of the embedding: 16 leaves it as it is, 8 or 4", check: outsideBits },
  "head-bits": { default: "16", help: "bits of the head: 16 leaves it as it is, 8 or 4", check: outsideBits },
} as const satisfies Record<keyof Typed, Option>;

/** The method that the options name, for a model of this width. Throws `RangeError` for values that do not exist. */
export function methodOf(options: Typed, width: number): Method {
  // Levels have one row scale where planes have two: groups of half the width take the same bits.
  const wide = options.method === "levels" ? 64 : 128;
  const group = options.group === "auto" ? width < 1024 ? 32 : wide : positiveInteger("group", options.group);
  const outside = (name: "embed-bits" | "head-bits") => {
    const bits = Number(options[name]);
    return bits === 16 ? undefined : rtn({ bits, group });
  };
  const bits = Number(options.bits), share = Number(options.abmp);
  const planes = share > 0 ? abmp({ average: bits, ratio: share }) : bits;
  const plain = methods[options.method as MethodName].make({ bits, group, planes, typed: options });
  const method = options["row-scale-bits"] === "8" ? scaled8(plain) : plain;
  const [embed, head] = [outside("embed-bits"), outside("head-bits")];
  return embed || head ? except(method, { ...(embed ? { embed } : {}), ...(head ? { head } : {}) }) : method;
}

/** Exits 2 for an option that the method does not have: dropped without a word, it would be believed. */
export function checkMethodOptions(options: Typed): void {
  const { takes, bits }: Entry = methods[options.method as MethodName];
  const own = Object.keys(methodOptions).filter((name) =>
    !["method", "embed-bits", "head-bits"].includes(name)
  ) as Own[];
  for (const name of own) {
    const { default: usual } = methodOptions[name];
    const isUsual = options[name] === usual || Number(options[name]) === Number(usual);
    if (isUsual || takes.includes(name)) continue;
    const those = methodNames.filter((method) => (methods[method].takes as readonly string[]).includes(name)).join(
      ", ",
    );
    refuse(`--${name} is ${options[name]}, but ${options.method} has no such option; it is for ${those}`);
  }
  if (!bits.includes(Number(options.bits))) {
    const wanted = bits.length > 2 ? `at most ${bits.at(-1)}` : bits.join(" or ");
    refuse(`--bits is ${options.bits}, but ${options.method} takes ${wanted}`);
  }
  const around = Number(options.bits);
  if (Number(options.abmp) > 0 && !(bits.includes(around - 1) && bits.includes(around + 1))) {
    refuse(
      `--abmp wants a plane more and one less than --bits ${around}, but ${options.method} takes 1 to ${bits.at(-1)}`,
    );
  }
}

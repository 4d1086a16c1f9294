/** Methods by the names that commands know them by. */
import { abmp, daq, except, gptq, levels, type Method, rtn, scaled8 } from "quant-dllm";
import { positiveInteger } from "./cli.ts";

/** The options of a command that makes a method, as they are typed. */
export const methodOptions = {
  method: {
    default: "quant-dllm",
    help: "quant-dllm (the plus profile), quant-dllm-official, quant-dllm-paper, levels, gptq, rtn",
  },
  bits: { default: "2", help: "bits per weight: planes for quant-dllm" },
  group: {
    default: "auto",
    help: "columns that share scales; auto: 128 (levels: 64), or 32 for models narrower than 1024",
  },
  abmp: { default: "0", help: "share of blocks that gain and lose a plane, 0 to 0.5 (quant-dllm and levels)" },
  "row-scale-bits": { default: "16", help: "16, or 8 for row scales in one byte (quant-dllm and levels)" },
  "embed-bits": { default: "16", help: "bits of the embedding: 16 leaves it as it is, 8 or 4" },
  "head-bits": { default: "16", help: "bits of the head: 16 leaves it as it is, 8 or 4" },
} as const;

type Typed = Readonly<Record<keyof typeof methodOptions, string>>;

/** The method that the options name, for a model of this width. Throws `RangeError` for values that do not exist. */
export function methodOf(options: Typed, width: number): Method {
  // Levels have one row scale where planes have two: groups of half the width take the same bits.
  const wide = options.method === "levels" ? 64 : 128;
  const group = options.group === "auto" ? width < 1024 ? 32 : wide : positiveInteger("group", options.group);
  const outside = (name: "embed-bits" | "head-bits") => {
    const bits = Number(options[name]);
    if (![4, 8, 16].includes(bits)) throw new RangeError(`--${name} is ${options[name]}, wanted 16, 8 or 4`);
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
  const scaled = (method: Method): Method => {
    if (options["row-scale-bits"] === "16") return method;
    if (options["row-scale-bits"] === "8") return scaled8(method);
    throw new RangeError(`--row-scale-bits is ${options["row-scale-bits"]}, wanted 16 or 8`);
  };
  switch (options.method) {
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
  const known = "quant-dllm, quant-dllm-official, quant-dllm-paper, levels, gptq or rtn";
  throw new RangeError(`Unknown method ${options.method}: wanted ${known}`);
}

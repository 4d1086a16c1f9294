/** Whether numbers stand beside each other: another device, Deno or onnxruntime alone changes them. */
import type { Row } from "quant-dllm";
import type { Option } from "./options.ts";

export const acrossOption = {
  default: false,
  help: "report also on rows of several devices, or of several versions of Deno and onnxruntime",
} satisfies Option;

/** Throws `RangeError` for rows of several platforms, unless they are asked for. Rows of older versions do not say, and stand beside any. */
export function checkOneDevice(rows: readonly Row[], { across }: { readonly across: boolean }): void {
  const platforms = new Set(rows.flatMap(({ platform }) => platform ?? []));
  if (platforms.size < 2 || across) return;
  throw new RangeError(
    `Cannot compare rows that were measured on ${[...platforms].join("; and on ")}: that alone changes numbers; ` +
      "measure all on one, in another folder (--out), or pass --across-devices",
  );
}

/**
 * The code version that rows carry: raised whenever a number may change.
 *
 * @example
 * ```ts
 * import { decodeRows, version } from "quant-dllm";
 *
 * const rows = decodeRows(await Deno.readTextFile("data/results/size_options.jsonl"));
 * const old = rows.filter(({ codeVersion }) => codeVersion !== version); // to be measured again
 * ```
 */
export const version = "0.2.0";

/** The rows of NanoWorld's generated tasks, which come with the kit. */
import { nanoRepo, nanoRowsOf } from "./tasks/nano_tasks.ts";
import type { RowReader } from "./rows.ts";

/**
 * Reads NanoWorld's rows from its validation text, which no calibration or training of the kit sees, and all others from another reader.
 *
 * @example
 * ```ts
 * import { harnessTasks, localRows, nanoRows } from "quant-dllm";
 *
 * const [sums] = harnessTasks(["nano_gsm8k"]);
 * const { docs } = await nanoRows(localRows("datasets"))(sums.data, sums.split);
 * console.log(docs[0]); // { prompt: "7 5 4 - 4 0 8 =", answer: "3 4 6" }
 * ```
 */
export function nanoRows(otherwise: RowReader): RowReader {
  return async (data, split, signal) => {
    if (data.repo !== nanoRepo) return await otherwise(data, split, signal);
    const url = new URL("../../data/nanoworld/validation.jsonl", import.meta.url);
    const lines = (await (await fetch(url, { signal })).text()).split("\n").filter(Boolean);
    return { docs: nanoRowsOf(data.config, lines.map((line) => JSON.parse(line).text)) };
  };
}

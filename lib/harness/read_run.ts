/** A finished run, read from its files: to compare another model with it later. */
import { basename, dirname, join } from "@std/path";
import type { SampleRow } from "./samples.ts";
import { itemsOf, type RunItems } from "./summary.ts";

/**
 * Reads a run from its results file and the sample rows beside it. Throws `SyntaxError` for a file that is none of this kit's results, and Deno's `NotFound`
 * for sample rows that are gone.
 *
 * @example
 * ```ts
 * import { compare, harnessOutcomes, readHarnessRun, sentenceOf } from "quant-dllm";
 *
 * const full = await readHarnessRun("results/harness/llada/results_2026-01-31T12-00-00.000000.json");
 * const quantized = await readHarnessRun("results/harness/llada-2bit/results_2026-01-31T18-00-00.000000.json");
 * console.log(sentenceOf(compare(harnessOutcomes("2 bits", [quantized]), harnessOutcomes("16 bits", [full]))));
 * ```
 */
export async function readHarnessRun(path: string): Promise<RunItems> {
  const results = await readResults(path);
  const { config, task_hashes, versions, quant_dllm } = results ?? {};
  if (config?.model !== "quant-dllm" || typeof task_hashes !== "object" || typeof versions !== "object") {
    throw new SyntaxError(
      `Cannot read ${path}: these are no results of this kit; name a results_DATE.json that it wrote`,
    );
  }
  const date = basename(path).replace(/^results_/, "").replace(/\.json$/, "");
  const items: Record<string, readonly number[]> = {};
  for (const [task, hash] of Object.entries<string>(task_hashes)) {
    const text = await Deno.readTextFile(join(dirname(path), `samples_${task}_${date}.jsonl`));
    const rows = text.split("\n").filter(Boolean).map((line) => JSON.parse(line) as SampleRow);
    Object.assign(items, itemsOf({ id: task, version: String(versions[task]), hash, rows }));
  }
  const platform = quant_dllm?.platform as string | undefined; // of older runs it is not known
  return { seed: config.random_seed, ...(platform === undefined ? {} : { platform }), items };
}

async function readResults(path: string) {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    const missing = error instanceof Deno.errors.NotFound;
    throw new SyntaxError(`Cannot read ${path}: ${missing ? "there is no such file" : (error as Error).message}`);
  }
}

/** Files of few-shot examples that tasks fix and this kit does not carry. */
import type { ShotFile } from "./tasks/shots.ts";

export type { ShotFile } from "./tasks/shots.ts";

/**
 * Reads examples by the id of a task or group: {"gsm8k_cot": {"description": "...", "shots": [{"prompt": "Q: ...\nA:", "target": "..."}]}}, each prompt and
 * target as it stands before a question. Throws `SyntaxError` that names what is missing.
 *
 * @example
 * ```ts
 * import { harnessTasks, readShotFiles } from "quant-dllm";
 *
 * const shotFiles = await readShotFiles("shots.json"); // an option of `runHarness`
 * console.log(harnessTasks(Object.keys(shotFiles)).length);
 * ```
 */
export async function readShotFiles(path: string): Promise<Record<string, ShotFile>> {
  const refuse = (what: string): never => {
    throw new SyntaxError(
      `Cannot read ${path}: ${what}; wanted {"TASK": {"shots": [{"prompt": "...", "target": "..."}]}}`,
    );
  };
  let value: unknown;
  try {
    value = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return refuse(error.message);
  }
  if (!isObject(value)) return refuse("it is no object");
  for (const [task, file] of Object.entries(value)) {
    const { description = "", shots } = isObject(file) ? file : {};
    if (typeof description !== "string") refuse(`the description of ${task} is no text`);
    const whole = Array.isArray(shots) &&
      shots.every((shot) => isObject(shot) && typeof shot.prompt === "string" && typeof shot.target === "string");
    if (!whole) refuse(`the shots of ${task} are not such a list`);
  }
  return value as Record<string, ShotFile>;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

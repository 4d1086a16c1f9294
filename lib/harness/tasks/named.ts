/** Tasks by name. */
import { choiceDefinitions } from "./choice_tasks.ts";
import type { TaskDefinition } from "./definition.ts";
import { generatedDefinitions } from "./generated_tasks.ts";
import { nanoDefinitions } from "./nano_tasks.ts";

const all: readonly TaskDefinition[] = [...choiceDefinitions, ...generatedDefinitions, ...nanoDefinitions];

/**
 * Names of tasks and groups that `harnessTasks` knows; a group's tasks are not listed by themselves.
 *
 * @example
 * ```ts
 * import { harnessNames } from "quant-dllm";
 *
 * console.log(harnessNames.join(", ")); // piqa, arc_easy, ..., mmlu, ...
 * ```
 */
export const harnessNames: readonly string[] = [...new Set(all.map(({ id, group }) => group ?? id))];

/** The names of another kind of task that a name stands for: the paper of Quant-dLLM calls the few-shot group "bbh". */
const aliases: Readonly<Record<string, string>> = { bbh: "bbh_cot_fewshot" };

/**
 * The tasks with these names, groups as their tasks; each once. Throws `RangeError` for a name that is not known.
 *
 * @example
 * ```ts
 * import { harnessTasks } from "quant-dllm";
 *
 * console.log(harnessTasks(["piqa", "mmlu"]).length); // 58
 * ```
 */
export function harnessTasks(names: readonly string[]): TaskDefinition[] {
  const found = names.flatMap((name) => {
    const wanted = aliases[name] ?? name;
    const own = all.filter(({ id, group }) => id === wanted || group === wanted);
    if (own.length > 0) return own;
    throw new RangeError(`Cannot evaluate on ${JSON.stringify(name)}: wanted ${harnessNames.join(", ")}`);
  });
  return [...new Set(found)];
}

/** The results file, in the layout of lm-evaluation-harness 0.4.13. */
import type { Score } from "./summary.ts";
import type { TaskDefinition } from "./tasks/definition.ts";

/** One task of a run. */
export interface TaskRun {
  readonly task: TaskDefinition;
  readonly shots: number;
  /** Of the task as it was asked. */
  readonly version: string;
  /** Rows of the split, and those that were evaluated. */
  readonly original: number;
  readonly effective: number;
  readonly scores: readonly Score[];
  readonly hash: string;
  /** The commit of its data set, where it came from the Hub. */
  readonly revision?: string;
}

export interface ResultsParts {
  readonly tasks: readonly TaskRun[];
  readonly groups: Readonly<Record<string, readonly Score[]>>;
  readonly model: {
    readonly name: string;
    readonly maxLength: number;
    /** The end-of-text token, as text and id. */
    readonly eos?: readonly [string, number];
    /** The template that prompts went through, and its SHA-256. */
    readonly chatTemplate?: readonly [text: string, sha: string];
  };
  readonly settings: {
    readonly seed: number;
    readonly limit?: number;
    readonly batch: number;
    readonly device?: string;
    readonly modelArgs: Readonly<Record<string, string | number | boolean>>;
    readonly generation: Readonly<Record<string, unknown>>;
  };
  readonly version: string;
  /** What is ours: method, bits per weight and the like. */
  readonly about: Readonly<Record<string, unknown>>;
  readonly times: { readonly date: number; readonly start: number; readonly end: number };
}

/** A name as part of a path: what cannot stand in one becomes "__". */
export const sanitized = (name: string): string => name.replace(/["<>:/|\\?*[\]]+/g, "__");

/** A date as part of a file's name: 2026-01-31T12-30-00.000000. */
export const fileDate = (milliseconds: number): string =>
  new Date(milliseconds).toISOString().replace("Z", "000").replaceAll(":", "-");

/** What results_DATE.json holds. */
export function resultsOf(parts: ResultsParts): Record<string, unknown> {
  const { tasks, groups, model, settings, version, about, times } = parts;
  const byTask = <T>(value: (run: TaskRun) => T) => Object.fromEntries(tasks.map((run) => [run.task.id, value(run)]));
  const grouped = Object.entries(groups).map(([id, scores]) => [id, entry(id, scores)] as const);
  const members = (id: string) => tasks.filter(({ task }) => task.group === id).map(({ task }) => task.id);
  const revisions = tasks.flatMap(({ task, revision }) => revision ? [[task.data.repo, revision]] : []);
  return {
    results: { ...Object.fromEntries(grouped), ...byTask(({ task, scores }) => entry(task.id, scores)) },
    ...(grouped.length > 0 ? { groups: Object.fromEntries(grouped) } : {}),
    group_subtasks: {
      ...Object.fromEntries(grouped.map(([id]) => [id, members(id)])),
      ...Object.fromEntries(tasks.filter(({ task }) => !task.group).map(({ task }) => [task.id, []])),
    },
    configs: byTask(configOf),
    versions: byTask(({ version }) => versionOf(version)),
    "n-shot": byTask(({ shots }) => shots),
    higher_is_better: byTask(({ scores }) => Object.fromEntries(scores.map(({ metric }) => [metric, true]))),
    "n-samples": byTask(({ original, effective }) => ({ original, effective })),
    config: {
      model: "quant-dllm",
      model_args: Object.entries({ pretrained: model.name, ...settings.modelArgs }).map(([k, v]) => `${k}=${v}`)
        .join(","),
      batch_size: settings.batch,
      batch_sizes: [],
      device: settings.device ?? null,
      use_cache: null,
      limit: settings.limit ?? null,
      bootstrap_iters: 0,
      gen_kwargs: settings.generation,
      random_seed: settings.seed,
      numpy_seed: settings.seed,
      torch_seed: settings.seed,
      fewshot_seed: 1234,
    },
    git_hash: null,
    date: times.date / 1000,
    pretty_env_info: `quant-dllm ${version}, Deno ${Deno.version.deno}, ${Deno.build.os} ${Deno.build.arch}`,
    transformers_version: null,
    lm_eval_version: `layout of 0.4.13, by quant-dllm ${version}`,
    upper_git_hash: null,
    tokenizer_pad_token: null,
    tokenizer_eos_token: model.eos ? model.eos.map(String) : null,
    tokenizer_bos_token: null,
    eot_token_id: model.eos?.[1] ?? null,
    max_length: model.maxLength,
    task_hashes: byTask(({ hash }) => hash),
    model_source: "quant-dllm",
    model_name: model.name,
    model_name_sanitized: sanitized(model.name),
    system_instruction: null,
    system_instruction_sha: null,
    fewshot_as_multiturn: false,
    chat_template: model.chatTemplate?.[0] ?? null,
    chat_template_sha: model.chatTemplate?.[1] ?? null,
    start_time: times.start / 1000,
    end_time: times.end / 1000,
    total_evaluation_time_seconds: String((times.end - times.start) / 1000),
    quant_dllm: { version, ...about, dataset_revisions: Object.fromEntries(revisions) },
  };
}

/** "acc,none" and "acc_stderr,none" as others write them, and the error of the masks as a key of its own: "acc_mc_stderr,none". */
function entry(id: string, scores: readonly Score[]): Record<string, unknown> {
  return {
    alias: id,
    ...Object.fromEntries(scores.flatMap(({ metric, filter, value, standardError, mcStandardError }) => [
      [`${metric},${filter}`, value],
      [`${metric}_stderr,${filter}`, Number.isNaN(standardError) ? "N/A" : standardError],
      ...(mcStandardError === undefined ? [] : [[`${metric}_mc_stderr,${filter}`, mcStandardError]]),
    ])),
  };
}

function configOf({ task, shots, version }: TaskRun): Record<string, unknown> {
  const { id, data, split, shotSplit, sampler, description = "", kind } = task;
  const generated = kind === "generated";
  return {
    task: id,
    ...(task.group ? { group: task.group } : {}),
    dataset_path: data.repo,
    dataset_name: data.config,
    [split === "validation" ? "validation_split" : "test_split"]: split,
    fewshot_split: shotSplit ?? null,
    description,
    target_delimiter: generated ? task.delimiter ?? " " : " ",
    fewshot_delimiter: "\n\n",
    fewshot_config: { sampler: { sample: "default", first: "first_n", file: "first_n" }[sampler] },
    num_fewshot: shots,
    metric_list: (generated ? [task.metric] : task.metrics).map((metric) => ({
      metric,
      aggregation: "mean",
      higher_is_better: true,
    })),
    output_type: generated ? "generate_until" : "multiple_choice",
    ...(generated ? { generation_kwargs: { until: task.stops, max_gen_toks: task.length } } : {}),
    repeats: 1,
    metadata: { version: versionOf(version) },
  };
}

/** A version as the file has it: a number where it is nothing more. */
export function versionOf(version: string): number | string {
  return /^\d+(\.\d+)?$/.test(version) ? Number(version) : version;
}

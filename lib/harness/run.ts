/** A run of the harness: tasks and a model become sample rows, written as they are done, and results. */
import { join } from "@std/path";
import { isChatTokenizer } from "../checkpoint/tokenizer/tokenizer.ts";
import { rng } from "../tensor/rng.ts";
import { version } from "../version.ts";
import { type AnsweringModel, answerTo, type GenerationSettings, judge } from "./answer.ts";
import { choose, type LikelihoodProtocol, optionEstimates } from "./likelihood/choose.ts";
import { resultsOf, sanitized, type TaskRun, versionOf } from "./results.ts";
import type { RowReader } from "./rows.ts";
import { docHash, mcField, type SampleRow, sampleRow, sha256, taskHash } from "./samples.ts";
import { checkSandbox, type SandboxOptions } from "./sandbox.ts";
import { groupScores, itemsOf, type RunItems, type Score, scoresOf } from "./summary.ts";
import type { ChoiceDefinition, Doc, GeneratedDefinition, TaskDefinition } from "./tasks/definition.ts";
import { contextsOf, type ShotFile, versionAsked } from "./tasks/shots.ts";
import { characters } from "./tasks/words.ts";
import { openUnfinished } from "./unfinished.ts";

/** How far a run is. */
export interface HarnessProgress {
  readonly task: string;
  /** Rows of the task that are done, and all of them. */
  readonly done: number;
  readonly total: number;
  /** The task's place among the tasks, from 0. */
  readonly index: number;
  /** Seconds that the rest of the task will take, by the rows of this process so far; absent before the first. */
  readonly seconds?: number;
}

/** What is run, on which rows, and where it is written. */
export interface HarnessOptions {
  readonly tasks: readonly TaskDefinition[];
  readonly rows: RowReader;
  readonly likelihood: LikelihoodProtocol;
  /** Of masks and sampling. Models that are run with one seed see the same masks. */
  readonly seed: number;
  /** At most this many rows per task, from the start. */
  readonly limit?: number;
  /** Few-shot examples; the task's own number by default. */
  readonly shots?: number;
  /** Fixed examples, by the id of a task or its group. */
  readonly shotFiles?: Readonly<Record<string, ShotFile>>;
  readonly generation?: GenerationSettings;
  /** Run code answers, in the sandbox. Without it, tasks that need it are refused. */
  readonly runCode?: boolean;
  readonly sandbox?: SandboxOptions;
  /** The folder below which the model has its own. */
  readonly out: string;
  /** Rows after which sample rows are written. Default 8, and 1 where answers are generated. */
  readonly saveEvery?: number;
  /** Sequences in one pass; no part of the results. */
  readonly together?: number;
  /** What else identifies the model and stands in the results: method, bits per weight. */
  readonly about?: Readonly<Record<string, unknown>>;
  readonly device?: string;
  /** What numbers are made on, as `Runtime.platform` says it: a run goes on where it began, and runs of two platforms are not compared. */
  readonly platform?: string;
  readonly onProgress?: (progress: HarnessProgress) => void;
  readonly signal?: AbortSignal;
  /** Milliseconds since 1970; default the system's clock. */
  readonly now?: () => number;
}

/** What a run leaves. */
export interface HarnessRun extends RunItems {
  /** Paths of the results and of the sample rows by task. */
  readonly results: string;
  readonly samples: Readonly<Record<string, string>>;
  /** Scores by task, and by group. */
  readonly scores: Readonly<Record<string, readonly Score[]>>;
  /** Of tasks as they were asked, and of groups, whose tasks are of one. */
  readonly versions: Readonly<Record<string, string>>;
}

/**
 * Runs tasks on a model and writes `<out>/<model>/results_<date>.json` and `samples_<task>_<date>.jsonl` as lm-evaluation-harness 0.4.13 lays them out. A run
 * that is stopped goes on where it was when it is begun again with the same options, to the same sample rows. Throws `RangeError` for a task whose code may not
 * be run, a prompt longer than the model reads, rows that changed since the run began, or another run unfinished in the folder; and what readers of rows throw.
 *
 * @example
 * ```ts
 * import { harnessTasks, lladaLikelihood, loadModel, localRows, runHarness } from "quant-dllm";
 *
 * await using model = await loadModel("GSAI-ML/LLaDA-8B-Base");
 * const run = await runHarness(model, {
 *   tasks: harnessTasks(["piqa", "mmlu"]),
 *   rows: localRows("datasets"),
 *   likelihood: lladaLikelihood({ draws: 128, batch: 32 }),
 *   seed: 1234,
 *   limit: 100,
 *   out: "results/harness",
 * });
 * console.log(run.scores.piqa, run.results);
 * ```
 */
export async function runHarness(model: AnsweringModel, options: HarnessOptions): Promise<HarnessRun> {
  const { tasks, likelihood, seed, limit, shots, about = {}, generation = {}, shotFiles = {}, platform } = options;
  const made = platform === undefined ? {} : { platform };
  const now = options.now ?? Date.now;
  if (!(limit === undefined || (Number.isInteger(limit) && limit > 0))) {
    throw new RangeError(`Cannot evaluate: limit is ${limit}, wanted a positive number of rows`);
  }
  const code = tasks.filter((task) => task.kind === "generated" && task.program).map(({ id }) => id);
  if (code.length > 0) {
    if (!options.runCode) {
      throw new RangeError(`Cannot score ${code.join(", ")}: code answers are run; pass --run-code`);
    }
    await checkSandbox(options.sandbox);
  }
  const { draws, batch, guidance, common, name } = likelihood;
  const modelArgs = { likelihood: name, mc_num: draws, cfg: guidance, batch_size: batch, common_masks: common };
  const gen = { ...generation, sampler: generation.sampler?.name ?? "the model's own" };
  const identity = {
    model: model.name,
    about,
    tasks: tasks.map(({ id, version }) => `${id}@${version}`),
    seed,
    limit: limit ?? null,
    shots: shots ?? null,
    files: await sha256(JSON.stringify(shotFiles)),
    likelihood: modelArgs,
    generation: gen,
    version,
    ...made,
  };
  const start = now();
  // Before the first pass: what is missing for the last task is told now.
  const asked = [];
  for (const task of tasks) {
    const { docs, pool, ...split } = await read(task, options);
    const file = shotFiles[task.id] ?? shotFiles[task.group ?? ""];
    const contexts = contextsOf(task, docs, pool, { shots, file });
    asked.push({ task, docs, contexts, variant: versionAsked(task, shots ?? task.shots, file), ...split });
  }
  const work = await openUnfinished(join(options.out, sanitized(model.name)), identity, start);
  const runs: (TaskRun & { readonly rows: readonly SampleRow[] })[] = [];
  for (const [index, { task, docs, contexts, original, revision, variant }] of asked.entries()) {
    const perDoc = task.kind === "generated" ? Object.keys(task.filters).length : 1;
    const rows = await work.rows(task.id, perDoc);
    const before = rows.length / perDoc;
    await checkSame(task, rows, docs);
    const began = now();
    const saveEvery = options.saveEvery ?? (task.kind === "generated" ? 1 : 8);
    for (let at = before; at < docs.length;) {
      const part: SampleRow[] = [];
      for (const end = Math.min(docs.length, at + saveEvery); at < end; at++) {
        options.signal?.throwIfAborted();
        const own = task.kind === "choice"
          ? [await askChoice(model, task, { id: at, doc: docs[at], context: contexts[at] }, options)]
          : await askAnswer(model, task, { id: at, doc: docs[at], context: contexts[at] }, options);
        part.push(...own);
        const seconds = (now() - began) / 1000 / (at + 1 - before) * (docs.length - at - 1);
        options.onProgress?.({ task: task.id, done: at + 1, total: docs.length, index, seconds });
      }
      await work.append(task.id, part);
      rows.push(...part);
    }
    runs.push({
      task,
      shots: shots ?? task.shots,
      version: variant,
      original,
      effective: docs.length,
      scores: scoresOf(rows),
      hash: await taskHash(rows),
      revision,
      rows,
    });
  }
  const grouped = Map.groupBy(runs.filter(({ task }) => task.group), ({ task }) => task.group!);
  const groups = Object.fromEntries([...grouped].map(([id, own]) => [id, groupScores(own.map((run) => run.scores))]));
  const { tokenizer, architecture } = model;
  const template = generation.chat && isChatTokenizer(tokenizer) ? tokenizer.chatTemplate : undefined;
  const eos = isChatTokenizer(tokenizer) ? tokenizer.eosIds[0] : undefined;
  const results = await work.finish(resultsOf({
    tasks: runs,
    groups,
    model: {
      name: model.name,
      maxLength: architecture.maxLength,
      ...(eos === undefined ? {} : { eos: [tokenizer.decode([eos]), eos] as const }),
      ...(template === undefined ? {} : { chatTemplate: [template, await sha256(template)] as const }),
    },
    settings: { seed, limit, batch, device: options.device, modelArgs, generation: gen },
    version,
    about: { ...about, ...made },
    times: { date: work.date, start, end: now() },
  }));
  return {
    seed,
    ...made,
    results,
    samples: Object.fromEntries(tasks.map(({ id }) => [id, work.samples(id)])),
    scores: { ...groups, ...Object.fromEntries(runs.map(({ task, scores }) => [task.id, scores])) },
    versions: Object.fromEntries(
      runs.flatMap(({ task: { id, group = id }, version }) => [[id, version], [group, version]]),
    ),
    items: Object.assign(
      {},
      ...runs.map(({ task, version, hash, rows }) =>
        itemsOf({ id: task.id, version: String(versionOf(version)), hash, rows })
      ),
    ),
  };
}

/** The rows of a task and those that its examples come from, prepared. */
async function read(task: TaskDefinition, { rows, limit, shots = task.shots, shotFiles = {}, signal }: HarnessOptions) {
  const prepare = (docs: readonly Doc[]) => task.prepare?.(docs) ?? docs;
  const { docs: raw, revision } = await rows(task.data, task.split, signal);
  if (raw.length === 0) throw new RangeError(`Cannot evaluate ${task.id}: its ${task.split} has no rows`);
  const all = prepare(raw);
  const given = shotFiles[task.id] ?? shotFiles[task.group ?? ""];
  let pool: readonly Doc[] = [];
  if (shots > 0 && !given && task.shotSplit !== undefined) {
    pool = task.shotSplit === task.split ? all : prepare((await rows(task.data, task.shotSplit, signal)).docs);
    pool = task.shotPool?.(pool) ?? pool;
  }
  return { docs: all.slice(0, limit), pool, original: all.length, revision };
}

/** Refuses to go on with rows that were asked of other data. */
async function checkSame({ id }: TaskDefinition, rows: readonly SampleRow[], docs: readonly Doc[]): Promise<void> {
  for (const { doc_id, doc_hash } of rows) {
    if (docs[doc_id] && await docHash(docs[doc_id]) === doc_hash) continue;
    throw new RangeError(`Cannot go on with ${id}: its row ${doc_id} is not the one that the run began with`);
  }
}

interface Asked {
  readonly id: number;
  readonly doc: Doc;
  /** What stands before the question. */
  readonly context: string;
}

async function askChoice(
  model: AnsweringModel,
  task: ChoiceDefinition,
  { id, doc, context }: Asked,
  { likelihood: protocol, seed, together, signal }: HarnessOptions,
): Promise<SampleRow> {
  const question = task.question(doc);
  const requests = question.contexts.map((own, i) => ({
    context: context + own,
    continuation: ` ${question.continuations[i]}`,
  }));
  const name = `${task.id} ${id}`;
  const scoring = { seed, question: name, maxLength: model.architecture.maxLength, together, signal };
  const estimates = await optionEstimates(model, model.tokenizer, { protocol, requests }, scoring);
  const lengths = question.continuations.map(characters);
  const random = rng(seed, "bootstrap", name);
  const chosen = choose(estimates, { gold: question.gold, lengths, random });
  const values = { acc: chosen.acc, acc_norm: chosen.accNorm };
  const variances = { acc: chosen.mcVariance.acc, acc_norm: chosen.mcVariance.accNorm };
  // No greedy check: no metric of these tasks reads it, and the authors advise against it.
  const responses = chosen.logLikelihoods.map((value) => [String(value), "False"]);
  return await sampleRow({
    id,
    doc,
    target: question.target ?? String(question.gold),
    requests: requests.map(({ context, continuation }) => [context, continuation]),
    responses: responses.map((response) => [response]),
    filtered: responses,
    filter: "none",
    values: Object.fromEntries(task.metrics.map((metric) => [metric, values[metric]])),
    more: Object.fromEntries(task.metrics.map((metric) => [mcField(metric), variances[metric]])),
  });
}

async function askAnswer(
  model: AnsweringModel,
  task: GeneratedDefinition,
  { id, doc, context }: Asked,
  { generation = {}, seed, sandbox = {}, signal }: HarnessOptions,
): Promise<SampleRow[]> {
  const prompt = context + task.prompt(doc);
  const { stops, length } = task;
  const asked = { stops, length, seed: `${seed} ${task.id} ${id}`, generation, signal };
  const answer = await answerTo(model, prompt, asked);
  const judged = await judge(task, doc, answer, { ...sandbox, signal });
  return await Promise.all(judged.map(({ filter, found, right, outcome }) =>
    sampleRow({
      id,
      doc,
      target: task.target(doc),
      requests: [[prompt, { until: stops, max_gen_toks: generation.length ?? length }]],
      responses: [[answer]],
      filtered: [found],
      filter,
      values: { [task.metric]: Number(right) },
      ...(outcome === undefined ? {} : { more: { outcome } }),
    })
  ));
}

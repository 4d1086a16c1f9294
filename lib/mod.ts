/**
 * quant-dllm: masked diffusion language models at 2 bits. The public vocabulary; no logic here.
 *
 * @module
 */

// Models
export { type Checkpoint, type ConfigOptions, loadModel, type LoadOptions, openCheckpoint } from "./checkpoint/open.ts";
export { openSource } from "./checkpoint/hub/source.ts";
export { saveModel } from "./checkpoint/save.ts";
export type { Model } from "./model/model.ts";
export { type Device, openRuntime } from "./runtime/runtime.ts";
export { fastKernels } from "./runtime/kernels.ts";
export type { Matrix } from "./tensor/matrix.ts";

// Text and masks
export { checkText, loadCorpus } from "./corpus/corpus.ts";
export { type Calibration, type Corpus, simulateMasks, visible } from "./diffusion/mcs.ts";
export { samplerStates } from "./diffusion/samplers/states.ts";
export { maskResponses } from "./diffusion/responses.ts";
export { mix } from "./diffusion/mix.ts";
export { guided } from "./train/guided.ts";
export { certaintyWeighted, frontierWeighted, weighted } from "./diffusion/weigh.ts";

// Methods and stored forms
export type { Method, QuantizedLinear } from "./quant/method.ts";
export { rtn } from "./methods/rtn.ts";
export { gptq } from "./methods/gptq.ts";
export { gptaq } from "./methods/gptaq.ts";
export { awq } from "./methods/awq.ts";
export { slimLlm } from "./methods/slim/slim_llm.ts";
export { billm } from "./methods/billm.ts";
export { dllmQuant } from "./methods/dllm_quant.ts";
export { valueScale } from "./quant/value_scale.ts";
export { aqlm } from "./methods/aqlm/aqlm.ts";
export { pt2Llm } from "./methods/pt2/pt2_llm.ts";
export { sbvr } from "./methods/sbvr/sbvr.ts";
export { sdqLlm, sharedRatios } from "./methods/sdq/sdq_llm.ts";
export { daq } from "./methods/daq/daq.ts";
export { levels } from "./methods/daq/levels.ts";
export { abmp } from "./methods/abmp.ts";
export { type Allotment, allotment } from "./methods/allotment.ts";
export { scaled8 } from "./quant/forms/row_scales.ts";
export { except } from "./quant/except.ts";
export { dequantize, storedBits } from "./quant/forms/decode.ts";
export { blockOrders } from "./quant/forms/grouped.ts";
export { formBytes } from "./quant/forms/size.ts";
export { lladaShapes } from "./model/families/families.ts";

// Quantising
export { openQuantization, type Quantization, quantize } from "./pipeline/quantize.ts";
export { type Plan, planText } from "./pipeline/plan.ts";
export { quantizeValues } from "./pipeline/values.ts";
export { blockScores, secondMoments } from "./pipeline/inspect.ts";
export { relativeErrorOf } from "./pipeline/walk.ts";

// Sharing planes out by what counts
export { allocate, type AllocateOptions, type Allocation, type AllocationStep } from "./allocate/allocate.ts";

// Tuning what is stored
export { tune } from "./tune/tune.ts";
export type { LossWeights, Rates, TuneOptions, TuneProgress } from "./tune/options.ts";
export { tuned } from "./tune/tuned.ts";
export { corpusText, type MarkedText, type TextSource } from "./diffusion/text.ts";
export { type Divergence, divergence } from "./diffusion/divergence.ts";

// Writing
export type { Denoiser } from "./diffusion/denoiser.ts";
export { dreamSampler } from "./diffusion/samplers/dream.ts";
export { type Guidance, guidedBy } from "./diffusion/samplers/guided.ts";
export type { Commit, Sampler, SampleState } from "./diffusion/sampler.ts";
export { type Prompt, sampleBatch } from "./diffusion/samplers/batch.ts";
export { lladaSampler } from "./diffusion/samplers/llada.ts";
export { type ApdOptions, apdSampler } from "./diffusion/apd/apd.ts";
export { type LeftToRight, stepwise } from "./diffusion/apd/left_to_right.ts";
export { generate, samplerOf } from "./pipeline/generate.ts";
export { exportCheckpoint, type ExportFormat } from "./export/export.ts";

// Measuring and comparing
export { boundOn, choiceTasks, knowsNanoWorld, type Task, tasks } from "./evaluate/tasks.ts";
export { evaluate, sizeOf } from "./evaluate/evaluate.ts";
export type { Decoded, PromptItem } from "./evaluate/decoding/decode.ts";
export { decodingOf, type DecodingOptions, type PromptSet, promptsOf } from "./evaluate/decoding/decoding.ts";
export { type Dial, tradeoff, type TradeoffOptions } from "./evaluate/decoding/tradeoff.ts";
export { type Arm, type ArmInputs, identityOf, measure, type Measurement } from "./evaluate/study.ts";
export { armMean, compare, type Comparison, type Metric, type Outcomes, outcomesOf } from "./evaluate/compare.ts";
export { resolutionText, sentenceOf, verdictLine } from "./evaluate/sentence.ts";

// The field's tasks, under their authors' protocol
export {
  dreamLikelihood,
  type LikelihoodOptions,
  type LikelihoodProtocol,
  lladaLikelihood,
} from "./harness/likelihood/choose.ts";
export type { AnsweringModel, GenerationSettings } from "./harness/answer.ts";
export { type HarnessOptions, type HarnessProgress, type HarnessRun, runHarness } from "./harness/run.ts";
export { harnessNames, harnessTasks } from "./harness/tasks/named.ts";
export type { DataSource, Doc, TaskDefinition } from "./harness/tasks/definition.ts";
export { hubRows, localRows, type RowReader } from "./harness/rows.ts";
export { nanoRows } from "./harness/nano_rows.ts";
export { harnessOutcomes, type RunItems, type Score } from "./harness/summary.ts";
export { readHarnessRun } from "./harness/read_run.ts";
export { checkSandbox, type SandboxOptions } from "./harness/sandbox.ts";
export { readShotFiles, type ShotFile } from "./harness/shot_file.ts";

// Reporting
export { decodeRows, encodeRows, type Row } from "./report/rows.ts";
export { type Table, table, textTable } from "./report/table.ts";
export { type Figure, figure } from "./report/figure.ts";
export { ablationDots, calibrationCurve, mainBars } from "./report/figures.ts";
export { differenceDots, errorHeatmap, paretoFront } from "./report/charts.ts";
export { curves, unmaskingFigure } from "./report/curves.ts";
export { page, type Section } from "./report/page.ts";
export { type PaperNumbers, parsePaper } from "./report/paper.ts";
export { ProgressMeter } from "./report/progress.ts";
export { version } from "./version.ts";

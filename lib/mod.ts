/** quant-dllm: masked diffusion language models at 2 bits. The public vocabulary; no logic here. */

// Arrays
export { type Matrix, matrix } from "./tensor/matrix.ts";
export { rng } from "./tensor/rng.ts";
export { NumericalError } from "./tensor/errors.ts";
export { type Kernels, referenceKernels } from "./tensor/kernels.ts";

// Methods and stored forms
export type { Method, QuantizedLinear } from "./quant/method.ts";
export { dequantize, storedBits } from "./quant/forms/decode.ts";
export { binaryBytes, levelsBytes, uniformBytes } from "./quant/forms/size.ts";
export { abmp } from "./methods/abmp.ts";
export { daq } from "./methods/daq/daq.ts";
export { gptq } from "./methods/gptq.ts";
export { rtn } from "./methods/rtn.ts";
export { levels } from "./methods/daq/levels.ts";
export { scaled8, withRowScaleBits } from "./quant/forms/row_scales.ts";
export { except } from "./quant/except.ts";

// Diffusion
export { type Calibration, type Corpus, simulateMasks, visible } from "./diffusion/mcs.ts";
export type { Denoiser } from "./diffusion/denoiser.ts";
export { dreamSampler, lladaSampler, sample, type Sampler } from "./diffusion/sampler.ts";

// Models
export { Engine } from "./model/engine.ts";
export { familyOf, lladaShapes } from "./model/families/families.ts";
export { type FastKernels, fastKernels } from "./runtime/kernels.ts";
export type { Model } from "./model/model.ts";
export { type Device, openRuntime } from "./runtime/runtime.ts";
export { type Checkpoint, loadModel, type LoadOptions, openCheckpoint } from "./checkpoint/open.ts";
export { freeDisk, freeMemory } from "./checkpoint/files/free_space.ts";
export { type CheckpointSource, openSource } from "./checkpoint/hub/source.ts";
export type { ChatMessage } from "./checkpoint/tokenizer/tokenizer.ts";
export { saveModel } from "./checkpoint/save.ts";

// Quantising and measuring
export { loadCorpus } from "./corpus/corpus.ts";
export { type LinearReport, openQuantization, type Quantization, quantize } from "./pipeline/quantize.ts";
export { relativeErrorOf } from "./pipeline/walk.ts";
export { type Plan, planText } from "./pipeline/plan.ts";
export { samplerStates } from "./pipeline/states.ts";
export { generate, samplerOf } from "./pipeline/generate.ts";
export { exportCheckpoint, type ExportFormat } from "./export/export.ts";
export { type Arm, type ArmInputs, identityOf, measure, type Measurement, pairedDifference } from "./evaluate/study.ts";
export {
  type ArmMean,
  armMean,
  compare,
  type Comparison,
  type Metric,
  type Outcomes,
  outcomesOf,
  resolvable,
} from "./evaluate/compare.ts";
export { resolutionText, sentenceOf, verdictLine } from "./evaluate/sentence.ts";
export { boundOn, choiceTasks, knowsNanoWorld, type Task, tasks } from "./evaluate/tasks.ts";
export { evaluate, sizeOf } from "./evaluate/evaluate.ts";
export { answerAccuracy } from "./evaluate/statements.ts";

// The testbed
export { createWorld, WORLD_SEED } from "./nanoworld/world.ts";
export { worldFiles } from "./nanoworld/files.ts";
export { initialState, train, type TrainingPlan } from "./train/train.ts";
export { lladaConfig, modelFromTraining, readTrainingState, writeTrainingState } from "./train/state.ts";

// Reports
export { version } from "./version.ts";
export { decodeRows, encodeRows, type Row, summarise } from "./report/rows.ts";
export { type Table, table, textTable } from "./report/table.ts";
export { type Figure, figure } from "./report/figure.ts";
export { ablationDots, calibrationCurve, mainBars } from "./report/figures.ts";
export { differenceDots, errorHeatmap, histograms, lossCurve, paretoFront } from "./report/charts.ts";
export { page, type Section } from "./report/page.ts";
export { type PaperNumbers, parsePaper } from "./report/paper.ts";
export { ProgressMeter } from "./report/progress.ts";

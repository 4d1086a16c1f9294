/** quant-dllm: masked diffusion language models at 2 bits. The public vocabulary; no logic here. */
export { rng } from "./tensor/rng.ts";
export { createWorld, WORLD_SEED } from "./nanoworld/world.ts";
export { Engine } from "./model/engine.ts";
export { familyOf } from "./model/families.ts";
export { type Device, openRuntime } from "./model/runtime.ts";
export { answerAccuracy } from "./evaluate/statements.ts";
export { initialState, train, type TrainingPlan } from "./pipeline/train.ts";
export { lladaConfig, modelFromTraining, readTrainingState, writeTrainingState } from "./pipeline/training_state.ts";
export { loadModel, saveModel } from "./model/checkpoint.ts";

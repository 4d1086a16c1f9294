/**
 * The testbed's own vocabulary: the world that NanoWorld is drawn from, and training a model on it. Quantising needs none of it.
 *
 * @module
 */
export { createWorld, WORLD_SEED } from "./nanoworld/world.ts";
export { isSpared } from "./nanoworld/spared.ts";
export { worldText } from "./nanoworld/stream.ts";
export { worldFiles } from "./nanoworld/files.ts";
export { initialState, train, type TrainingPlan } from "./train/train.ts";
export { lladaConfig, modelFromTraining, readTrainingState, writeTrainingState } from "./train/state.ts";
export { answerAccuracy } from "./evaluate/statements.ts";
export { worldTasks } from "./evaluate/tasks.ts";
export { Engine } from "./model/engine.ts";
export { familyOf } from "./model/families/families.ts";
export { rng } from "./tensor/rng.ts";

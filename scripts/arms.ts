/** Measuring arms of a named plan, alike in a thread and in a process of its own. */
import { type Device, fastKernels, loadModel, measure, type Measurement } from "quant-dllm";
import type { ArmRequest, ArmWorkerData } from "./arm_workers.ts";
import { corpusOf, planOf } from "./plans.ts";
import { wholeArms } from "./whole_arms.ts";

export type MeasureArm = (request: ArmRequest, onProgress?: (share: number) => void) => Promise<Measurement>;

/** Loads the model once; what comes back measures one arm after another. */
export async function openArms({ name, model: location, device, threads, inputs }: ArmWorkerData): Promise<MeasureArm> {
  const model = await loadModel(location, { device: device as Device, threads });
  const kernels = fastKernels(model.engine.runtime, threads > 0 ? { threads } : {});
  const { arms, judge } = planOf(name, model), { list } = wholeArms(arms, inputs);
  const options = { corpus: corpusOf(name.study, model), kernels, judge };
  return ({ arm, seed }, onProgress) => measure(model, list[arm], { ...options, seed, onProgress });
}

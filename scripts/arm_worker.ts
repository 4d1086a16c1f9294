/** A thread that measures arms of a plan, one after another, as it is asked. */
import { parentPort, workerData } from "node:worker_threads";
import { type Device, fastKernels, loadModel, measure } from "quant-dllm";
import type { ArmAnswer, ArmRequest, ArmWorkerData } from "./arm_workers.ts";
import { corpusOf, planOf } from "./plans.ts";
import { wholeArms } from "./whole_arms.ts";

const { name, model: location, device, threads, inputs } = workerData as ArmWorkerData;
const opened = open();
const say = (answer: ArmAnswer) => parentPort!.postMessage(answer);

// Listening begins at once: what is asked before the model is there must not be lost.
parentPort!.on("message", async ({ arm, seed }: ArmRequest) => {
  const onProgress = (share: number) => say({ arm, seed, share });
  try {
    const { model, list, options } = await opened;
    say({ arm, seed, measurement: await measure(model, list[arm], { ...options, seed, onProgress }) });
  } catch (error) {
    say({ arm, seed, error: error instanceof Error ? error.message : String(error) });
  }
});

async function open() {
  const model = await loadModel(location, { device: device as Device, threads });
  const kernels = fastKernels(model.engine.runtime, threads > 0 ? { threads } : {});
  const { arms, judge } = planOf(name, model);
  return {
    model,
    list: wholeArms(arms, inputs).list,
    options: { corpus: corpusOf(name.study, model), kernels, judge },
  };
}

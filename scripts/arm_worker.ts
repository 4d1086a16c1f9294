/** A thread that measures arms of a plan, one after another, as it is asked. */
import { parentPort, workerData } from "node:worker_threads";
import type { ArmAnswer, ArmRequest, ArmWorkerData } from "./arm_workers.ts";
import { openArms } from "./arms.ts";

const opened = openArms(workerData as ArmWorkerData);
const say = (answer: ArmAnswer) => parentPort!.postMessage(answer);

// Listening begins at once: what is asked before the model is there must not be lost.
parentPort!.on("message", async ({ arm, seed }: ArmRequest) => {
  const onProgress = (share: number) => say({ arm, seed, share });
  try {
    const measureArm = await opened;
    say({ arm, seed, measurement: await measureArm({ arm, seed }, onProgress) });
  } catch (error) {
    say({ arm, seed, error: error instanceof Error ? error.message : String(error) });
  }
});

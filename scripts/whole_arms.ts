/** Studies share arms: each is measured once, on all the tasks that any of them asks for. */
import { type Arm, type ArmInputs, identityOf } from "quant-dllm";

export interface WholeArms {
  /** Each once, in the order of their first mention. */
  readonly list: readonly Arm[];
  /** The whole arm behind one of a study. */
  of(arm: Arm): Arm;
}

export function wholeArms(arms: readonly Arm[], inputs: ArmInputs): WholeArms {
  const subject = (arm: Arm) => identityOf({ ...arm, tasks: [] }, { seed: 0, inputs });
  const whole = new Map<string, Arm>();
  for (const arm of arms) {
    const held = whole.get(subject(arm));
    const tasks = [...held?.tasks ?? [], ...arm.tasks].filter(({ task }, i, all) =>
      all.findIndex((other) => other.task === task) === i
    );
    whole.set(subject(arm), { ...arm, label: held?.label ?? arm.label, tasks });
  }
  return { list: [...whole.values()], of: (arm) => whole.get(subject(arm))! };
}

/** The recipe of the tuning study on another world: other facts, and a model that was trained on them. */
import { type Arm, levels, simulateMasks, tuned } from "quant-dllm";
import { createWorld, worldTasks, worldText } from "quant-dllm/testbed";
import { group, names, type Plan } from "./studies.ts";
import { batch, ratesFor, type TuningScale } from "./tuning_scale.ts";

/** Where its files and its model are made; see `secondWorldRemedy`. */
export const secondWorld = { seed: 2, folder: "results/second-world", trainingSteps: 9000 } as const;

/** What makes the world's files and its model, to be typed in this order. */
export const secondWorldRemedy = [
  `deno task make-world --seed ${secondWorld.seed} --out ${secondWorld.folder}`,
  `deno task train-nano --device cpu --world ${secondWorld.seed} --steps ${secondWorld.trainingSteps} ` +
  `--out ${secondWorld.folder}/nano-llada --work ${secondWorld.folder}/training`,
].join(" && ");

/** Nothing is chosen anew here: steps, rates, masks and text are those of the headline arm of the first world. */
export function secondWorldStudy(scale: TuningScale, maskId: number): Plan {
  const world = createWorld({ seed: secondWorld.seed });
  const { elbo, ...choice } = worldTasks(new URL(`../${secondWorld.folder}/nanoworld/`, import.meta.url));
  const uniform = levels({ bits: 2, group });
  const arm = (label: string, method?: Arm["method"]): Arm => ({
    ...{ label, method, windows: scale.calibrationWindows },
    calibration: method && ((corpus, seed) => simulateMasks(corpus, { maskId, seed })),
    tasks: [
      ...Object.values(choice).map((task) => ({ task, limit: scale.items })),
      { task: elbo, limit: scale.elboWindows },
    ],
  });
  const codes = "levels + codes", steps = scale.long;
  const main = {
    id: "second",
    title: "A second world, the recipe of the first",
    settings: [
      arm(names.full),
      arm(names.levels, uniform),
      arm(codes, tuned(uniform, { what: "codes", steps, text: worldText(world, { batch }), ...ratesFor(steps) })),
    ],
    pairs: [[codes, names.levels], [names.full, codes]] as const,
  };
  return { main, ablations: [], points: [] };
}

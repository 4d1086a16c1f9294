/** What `reproduce --study tuning` runs: from the error of layers to the model's own loss, in groups of 128. */
import {
  allocate,
  type Arm,
  choiceTasks,
  corpusText,
  daq,
  gptq,
  guided,
  levels,
  maskResponses,
  type Method,
  mix,
  simulateMasks,
  tasks,
  tuned,
  type TuneOptions,
} from "quant-dllm";
import { createWorld, WORLD_SEED, worldText } from "quant-dllm/testbed";
import { group, names, type Plan, type Scale, type Study } from "./studies.ts";
import { asked, batch, ratesFor, spared, tuningNames, type TuningScale } from "./tuning_scale.ts";

/** Joint changes of planes that are tried, each at the price of quantising the model. */
const trials = 8;
/** Tokens that a text has when it is the calibration split alone: 57,344. */
const calibrationWindows = 896;

export function tuningStudies(scale: Scale, maskId: number): Plan {
  const { long, middle, short, block } = scale as TuningScale;
  const world = createWorld({ seed: WORLD_SEED });
  const text = worldText(world, { batch }), sparing = worldText(world, { batch, sparing: true });
  const file = corpusText(worldText(world, { batch: calibrationWindows, split: "calibration" }).draw(0, 0), {
    name: "nanoworld-calibration",
    batch,
  });
  const masked: Arm["calibration"] = (corpus, seed) => simulateMasks(corpus, { maskId, seed });
  const bound = { task: tasks.elbo, limit: scale.elboWindows };
  const all = [...choiceTasks.map((task) => ({ task, limit: scale.items })), bound];
  const arm = (label: string, method: Method | undefined, measured: Arm["tasks"] = all): Arm => ({
    ...{ label, method, calibration: method && masked, windows: scale.calibrationWindows, tasks: measured },
  });
  const uniform = levels({ bits: 2, group }), plus = daq({ bits: 2, group });
  const official = daq({ bits: 2, group, profile: "official" }), grid = gptq({ bits: 2, group });
  const one = levels({ bits: 1, group });
  // What is told on the way is on other windows than those that judge at the end.
  const heldOut = (steps: number) => ({
    text: worldText(world, { batch: 64, split: "validation" }).draw(0, 2),
    every: Math.ceil(steps / 8),
  });
  const moved = (method: Method, options: Partial<TuneOptions> & Pick<TuneOptions, "what" | "steps">) =>
    tuned(method, { text, heldOut: heldOut(options.steps), ...options });
  const scales = (method: Method, steps = short) => moved(method, { what: "scales", steps });
  const codes = (method: Method, steps: number, options: Partial<TuneOptions> = {}) =>
    moved(method, { what: "codes", steps, ...ratesFor(steps), ...options });
  const byBlock = (steps: number, loss: TuneOptions["loss"] = {}) =>
    moved(uniform, { what: "codes", by: "block", steps, rates: { latents: 0.05 }, loss });

  // Half of the windows with whole answers masked: the text of the calibration split, drawn anew for each seed, whose answers are known.
  const mixed: Arm["calibration"] = (_, seed) => {
    const own = worldText(world, { batch: scale.calibrationWindows, split: "calibration" }).draw(seed, 1);
    const masks = { maskId, seed };
    return mix([[0.5, simulateMasks(own, masks)], [0.5, maskResponses(own, masks)]]);
  };
  const onMixed = (label: string, method: Method): Arm => ({ ...arm(label, method), calibration: mixed });
  const onGuided = (label: string, method: Method): Arm => ({
    ...arm(label, method),
    calibration: (corpus, seed) => ({ ...mixed(corpus, seed), name: `${mixed(corpus, seed).name}-guided` }),
    prepare: async (model, { seed }) => ({
      calibration: await guided(model, mixed({ windows: [] }, seed), { seed }),
    }),
  });
  /** Planes by the divergence of the model on windows that judge nothing else, as many on average; then `moved`. */
  const allocated = (label: string, average: number, base: Arm, moved: (method: Method) => Method): Arm => ({
    ...base,
    label,
    method: { ...moved(uniform), name: moved({ ...uniform, name: `levels-kl${average}-g${group}` }).name },
    async prepare(model, given) {
      const calibration = (await base.prepare?.(model, given))?.calibration ?? given.calibration;
      const method = (bits: Parameters<typeof levels>[0]["bits"]) => levels({ bits, group });
      const decides = worldText(world, { batch: 64, split: "validation" }).draw(given.seed, 3);
      const options = { method, average, text: decides, seed: given.seed, most: Math.min(3, Math.ceil(average) + 1) };
      const bits = await allocate(model, { ...options, calibration, trials });
      return { calibration, method: moved(method(bits)) };
    },
  });

  const L = tuningNames;
  const main: Study = {
    id: "tuning",
    title: "Towards the model's loss, two bits in groups of 128",
    settings: [
      arm(names.full, undefined),
      arm(names.levels, uniform),
      arm("official", official),
      arm("plus", plus),
      arm("GPTQ", grid),
      arm("one plane", one),
      arm("levels + scales", scales(uniform)),
      arm(L.levelsCodes, codes(uniform, long)),
      arm("official + scales", scales(official)),
      arm("official + codes", codes(official, middle)),
      allocated(L.best, 2, onMixed("", uniform), (method) => codes(method, long)),
      arm("GPTQ + scales", scales(grid)),
      arm("GPTQ + codes", codes(grid, middle)),
      arm(L.plusCodes, codes(plus, long)),
      arm("levels by block, then scales", moved(byBlock(block), { what: "scales", steps: middle })),
      arm("one plane + codes", codes(one, middle)),
      allocated(L.fewest, 1.5, arm("", uniform), (method) => codes(method, middle)),
    ],
    pairs: [
      ["levels + scales", names.levels],
      [L.levelsCodes, names.levels],
      [L.levelsCodes, "levels + scales"],
      [L.levelsCodes, "official"],
      ["official + scales", "official"],
      ["official + codes", "official"],
      [L.plusCodes, "plus"],
      [L.plusCodes, L.levelsCodes],
      ["GPTQ + scales", "GPTQ"],
      ["GPTQ + codes", "GPTQ"],
      ["levels by block, then scales", names.levels],
      [L.levelsCodes, "levels by block, then scales"],
      ["one plane + codes", "one plane"],
      [L.best, L.levelsCodes],
      [L.fewest, "plus"],
      [names.full, L.levelsCodes],
      [names.full, L.best],
    ],
  };
  const asking = (id: string, title: string, task: typeof asked): Study => {
    const own = [{ task, limit: scale.items }];
    return {
      ...{ id, title },
      settings: [
        arm(names.full, undefined, own),
        arm(names.levels, uniform, own),
        arm("all persons asked", codes(uniform, short), own),
        arm("half of them, KL", codes(uniform, short, { text: sparing }), own),
        arm("half of them, KL and states", codes(uniform, short, { text: sparing, loss: { hidden: 10 } }), own),
        arm(
          `half of them, KL and states, ${middle} steps`,
          codes(uniform, middle, { text: sparing, loss: { hidden: 10 } }),
          own,
        ),
      ],
      pairs: [
        ["half of them, KL", names.levels],
        ["half of them, KL and states", names.levels],
        ["half of them, KL and states", "half of them, KL"],
        [`half of them, KL and states, ${middle} steps`, "half of them, KL and states"],
        ["all persons asked", "half of them, KL and states"],
      ],
    };
  };
  const onText = (method: Method) => codes(method, short);
  const path: Study = {
    id: "path",
    title: "From the solver to the model's loss, one step after another",
    settings: [
      arm("solver", uniform),
      onMixed("masks added", uniform),
      onGuided("guided moments added", uniform),
      onGuided("scales added", scales(uniform)),
      onGuided("codes added", codes(uniform, short, { text: file })),
      onGuided("text added", onText(uniform)),
      allocated("allocation added", 2, onGuided("", uniform), onText),
    ],
    pairs: [
      ["masks added", "solver"],
      ["guided moments added", "masks added"],
      ["scales added", "guided moments added"],
      ["codes added", "scales added"],
      ["text added", "codes added"],
      ["allocation added", "text added"],
    ],
  };
  const ablations: Study[] = [
    asking("spared", "Facts that the tuning text never asks for: persons who are never masked", spared),
    asking("asked", "The other half of the persons", asked),
    path,
    {
      id: "loss",
      title: "What moves, and towards what (the same number of steps)",
      settings: [
        arm("scales", scales(uniform)),
        arm("codes, spans only", codes(uniform, short, { text: unmarked(text) })),
        arm("codes", codes(uniform, short)),
        arm("codes, norms stay", codes(uniform, short, { norms: false })),
        arm("codes, KL and states", codes(uniform, short, { loss: { hidden: 10 } })),
      ],
      pairs: [
        ["codes", "scales"],
        ["codes", "codes, spans only"],
        ["codes", "codes, norms stay"],
        ["codes, KL and states", "codes"],
      ],
    },
    {
      id: "text",
      title: "How much text (the same number of steps)",
      settings: [
        arm("the calibration split, 57 thousand tokens", codes(uniform, short, { text: file })),
        arm(`${batch * 64 * short / 1000} thousand tokens`, codes(uniform, short)),
      ],
      pairs: [[`${batch * 64 * short / 1000} thousand tokens`, "the calibration split, 57 thousand tokens"]],
    },
    {
      id: "steps",
      title: "How long",
      settings: [
        arm("0", uniform),
        arm("100", codes(uniform, 100)),
        arm(String(short), codes(uniform, short)),
        arm(String(long), codes(uniform, long)),
      ],
      pairs: [["100", "0"], [String(short), "100"], [String(long), String(short)]],
    },
    {
      id: "block",
      title: "Block by block",
      settings: [
        arm("by block", byBlock(block)),
        arm("by block, masked tokens counted 4", byBlock(block, { masked: 4 })),
        arm(`by block, then ${short} steps of scales`, moved(byBlock(block), { what: "scales", steps: short })),
        arm(`by block, then ${middle} steps of scales`, moved(byBlock(block), { what: "scales", steps: middle })),
      ],
      pairs: [
        ["by block, masked tokens counted 4", "by block"],
        [`by block, then ${short} steps of scales`, "by block"],
        [`by block, then ${middle} steps of scales`, `by block, then ${short} steps of scales`],
      ],
    },
    {
      id: "bits",
      title: "What a bit buys when codes are tuned",
      settings: [1, 2, 3].flatMap((bits) => [
        arm(`levels ${bits}`, levels({ bits, group })),
        arm(`levels ${bits} + codes`, codes(levels({ bits, group }), short)),
      ]),
      pairs: [1, 2, 3].map((bits) => [`levels ${bits} + codes`, `levels ${bits}`] as const),
    },
  ];
  return { main, ablations: ablations.filter(({ id }) => !scale.without.includes(id)), points: [] };
}

/** The same text without its answers marked: what is masked beside the forward process are random spans. */
function unmarked(text: TuneOptions["text"]): TuneOptions["text"] {
  return {
    ...text,
    name: `${text.name}-unmarked`,
    draw: async (seed, step) => ({ windows: (await text.draw(seed, step)).windows }),
  };
}

/**
 * What each way to a smaller model costs: the likelihood bound of nano-llada with the option against without, paired by window, beside the bytes of
 * LLaDA-8B so stored. Writes data/results/size_options.jsonl, which README's table is rendered from (`deno task figures`).
 */
import {
  compare,
  daq,
  type Device,
  encodeRows,
  evaluate,
  except,
  fastKernels,
  levels,
  loadCorpus,
  loadModel,
  type Method,
  type Outcomes,
  quantize,
  type Row,
  rtn,
  scaled8,
  simulateMasks,
  tasks,
} from "quant-dllm";
import { count, deviceOption, interruptSignal, main, meter, readOptions } from "./cli.ts";
import { llada8bBytes, type StoredAs } from "./sizes.ts";
import { sizeOptionsTable } from "./tables.ts";

const options = readOptions("deno task size-options [options]", {
  seeds: { default: "5", help: "number of seeds, of calibration windows and masks", check: count() },
  limit: { default: "200", help: "windows of the likelihood bound", check: count() },
  out: { default: "data/results/size_options.jsonl", help: "rows", path: true },
  device: deviceOption,
});

/** nano-llada's linears are narrow: groups of 32 there stand for groups of 128 in LLaDA-8B. */
const group = 32;
const planes = daq({ bits: 2, group });
const outside = (bits: number) => rtn({ bits, group });
const base: StoredAs = { form: "binary", group: 128, rowScaleBits: 16, embedBits: 16, headBits: 16 };

const arms: readonly { readonly label: string; readonly method: Method; readonly stored: StoredAs }[] = [
  { label: "two planes", method: planes, stored: base },
  { label: "row scales in 8 bits", method: scaled8(planes), stored: { ...base, rowScaleBits: 8 } },
  { label: "levels", method: levels({ bits: 2, group }), stored: { ...base, form: "levels" } },
  {
    label: "levels, row scales in 8 bits",
    method: scaled8(levels({ bits: 2, group })),
    stored: { ...base, form: "levels", rowScaleBits: 8 },
  },
  {
    label: "levels in groups of half the width, row scales in 8 bits",
    method: scaled8(levels({ bits: 2, group: group / 2 })),
    stored: { ...base, form: "levels", group: 64, rowScaleBits: 8 },
  },
  { label: "embedding in 8 bits", method: except(planes, { embed: outside(8) }), stored: { ...base, embedBits: 8 } },
  { label: "embedding in 4 bits", method: except(planes, { embed: outside(4) }), stored: { ...base, embedBits: 4 } },
  { label: "head in 8 bits", method: except(planes, { head: outside(8) }), stored: { ...base, headBits: 8 } },
  { label: "head in 4 bits", method: except(planes, { head: outside(4) }), stored: { ...base, headBits: 4 } },
  {
    label: "row scales and embedding in 8 bits, head in 4",
    method: except(scaled8(planes), { embed: outside(8), head: outside(4) }),
    stored: { ...base, rowScaleBits: 8, embedBits: 8, headBits: 4 },
  },
];

await main(async () => {
  await using model = await loadModel("data/nano-llada", { device: options.device as Device });
  await using kernels = fastKernels(model.engine.runtime);
  const signal = interruptSignal();
  const seeds = Number(options.seeds);
  const limit = Number(options.limit);
  const progress = meter("size options", seeds * arms.length, "arms");
  const measured = arms.map((arm) => ({ ...arm, rows: [] as Row[], windows: [] as (readonly number[])[] }));
  let done = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const path = "data/nanoworld/calibration.jsonl";
    const corpus = await loadCorpus(path, { tokenizer: model.tokenizer, count: 128, length: 64, seed });
    const calibration = simulateMasks(corpus, { maskId: model.maskId, seed });
    for (const { label, method, rows, windows } of measured) {
      const quantized = await quantize(model, method, { calibration, kernels, signal });
      const onItems = (_task: string, values: ArrayLike<number>) => windows.push(Array.from(values));
      rows.push(...await evaluate(quantized, [tasks.elbo], { seed, limit, signal, onItems }));
      progress.update(++done, `${label}, seed ${seed}`);
    }
  }
  progress.finish();
  const outcomes = measured.map(({ label, rows, windows }): Outcomes => (
    { label, metric: "nats per token", seeds: rows.map(({ seed }) => seed), items: { elbo: windows } }
  ));
  const rows = measured.flatMap(({ label, stored, rows }, i) => {
    // The first line is what the others are compared with.
    const { difference, standardError, verdict } = compare(outcomes[i], outcomes[0]);
    const against = i === 0 ? {} : { difference, differenceError: standardError, verdict };
    return rows.map((row): Row => ({ ...row, label, ...against, ...llada8bBytes(stored) }));
  });
  await Deno.writeTextFile(options.out, encodeRows(rows));
  console.error(sizeOptionsTable(rows).toText());
  console.log(JSON.stringify({ rows: rows.length, out: options.out }));
});

/** Evaluates a checkpoint folder, full precision or packed: see `deno task evaluate --help`. */
import { evaluate, loadModel, type Row, table, tasks } from "quant-dllm";
import { interruptSignal, loadOptions, main, meter, positiveInteger, readOptions, runOptions } from "./cli.ts";

const options = readOptions("deno task evaluate MODEL_DIR [options]", {
  tasks: { default: Object.keys(tasks).join(","), help: "comma-separated" },
  limit: { default: "200", help: "items per task" },
  seed: { default: "1", help: "of the masks: models evaluated with one seed see the same" },
  ...runOptions,
}, 1);

await main(async () => {
  const names = options.tasks.split(",");
  const unknown = names.find((name) => !(name in tasks));
  if (unknown) throw new RangeError(`Unknown task ${unknown}: wanted some of ${Object.keys(tasks).join(", ")}`);
  const signal = interruptSignal();
  await using model = await loadModel(options._[0], loadOptions(options, signal));
  const progress = meter("evaluate", names.length, "tasks");
  const rows: Row[] = [];
  for (const [i, name] of names.entries()) {
    const settings = { seed: Number(options.seed), limit: positiveInteger("limit", options.limit), signal };
    rows.push(
      ...await evaluate(model, [tasks[name as keyof typeof tasks]], {
        ...settings,
        onProgress: (done, total) => progress.update(i + done / total, name),
      }),
    );
  }
  progress.finish();
  const lines = rows.map((row) => ({ ...row, result: "value ± s.e." }));
  console.error(table(lines, { row: ["task", "metric"], column: "result", digits: 4 }).toText());
  console.log(JSON.stringify({ rows }));
});

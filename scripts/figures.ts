/**
 * Makes a finished reproduction the published one: copies its rows, report and figures to data/results and renders README's table from the rows.
 * Without --from it renders README again from the rows that are there.
 */
import { decodeRows } from "quant-dllm";
import { main, readOptions } from "./cli.ts";
import { mainTable } from "./tables.ts";

const options = readOptions("deno task figures [options]", {
  from: { default: "", help: "folder of a finished `deno task reproduce`, say results/reproduce" },
  results: { default: "data/results", help: "where the published rows and figures are" },
  readme: { default: "README.md", help: "file with the markers <!-- table1 --> and <!-- /table1 -->" },
});

await main(async () => {
  const { from, results } = options;
  if (from) {
    await Deno.mkdir(`${results}/figures`, { recursive: true });
    for (const file of ["rows.jsonl", "report.md"]) await Deno.copyFile(`${from}/${file}`, `${results}/${file}`);
    for await (const { name } of Deno.readDir(`${from}/figures`)) {
      if (name.endsWith(".svg")) await Deno.copyFile(`${from}/figures/${name}`, `${results}/figures/${name}`);
    }
  }
  const path = `${results}/rows.jsonl`;
  const rows = decodeRows(await Deno.readTextFile(path), path);
  const text = await Deno.readTextFile(options.readme);
  const [before, rest] = text.split("<!-- table1 -->");
  const after = rest?.split("<!-- /table1 -->")[1];
  if (after === undefined) {
    throw new SyntaxError(`Cannot render ${options.readme}: it lacks <!-- table1 --> or <!-- /table1 -->`);
  }
  const rendered = `${before}<!-- table1 -->\n\n${mainTable(rows).toMarkdown()}\n\n<!-- /table1 -->${after}`;
  await Deno.writeTextFile(options.readme, rendered);
  console.log(JSON.stringify({ rows: rows.length, readme: options.readme }));
});

/**
 * Makes a finished reproduction the published one: copies its rows, report and figures to data/results and renders README's tables from the rows.
 * Without --from it renders README again from the rows that are there.
 */
import { join } from "@std/path";
import { decodeRows } from "quant-dllm";
import { main, readOptions } from "./cli.ts";
import { claims, mainTable, sizeOptionsTable } from "./tables.ts";
import type { Verdict } from "./verdicts.ts";

const options = readOptions("deno task figures [options]", {
  from: { default: "", help: "folder of a finished `deno task reproduce`, say results/reproduce" },
  results: { default: "data/results", help: "where the published rows and figures are" },
  readme: { default: "README.md", help: "file with the markers <!-- table1 --> and <!-- /table1 -->" },
});

await main(async () => {
  const { from, results } = options;
  if (from) {
    await Deno.mkdir(join(results, "figures"), { recursive: true });
    for (const file of ["rows.jsonl", "means.jsonl", "verdicts.jsonl", "report.md"]) {
      await Deno.copyFile(join(from, file), join(results, file));
    }
    for await (const { name } of Deno.readDir(join(from, "figures"))) {
      if (name.endsWith(".svg")) await Deno.copyFile(join(from, "figures", name), join(results, "figures", name));
    }
  }
  const read = async (file: string) => decodeRows(await Deno.readTextFile(join(results, file)), join(results, file));
  const means = await read("means.jsonl");
  const lines = (await Deno.readTextFile(join(results, "verdicts.jsonl"))).split("\n").filter(Boolean);
  const verdicts = lines.map((line) => JSON.parse(line) as Verdict);
  let text = await Deno.readTextFile(options.readme);
  const fill = (marker: string, content: string) => {
    const [before, rest] = text.split(`<!-- ${marker} -->`);
    const after = rest?.split(`<!-- /${marker} -->`)[1];
    if (after === undefined) {
      throw new SyntaxError(`Cannot render ${options.readme}: it lacks <!-- ${marker} --> or <!-- /${marker} -->`);
    }
    text = `${before}<!-- ${marker} -->\n\n${content}\n\n<!-- /${marker} -->${after}`;
  };
  fill("table1", mainTable(means).toMarkdown());
  fill("claims", claims(verdicts));
  fill("sizes", sizeOptionsTable(await read("size_options.jsonl")).toMarkdown());
  await Deno.writeTextFile(options.readme, text);
  console.log(JSON.stringify({ means: means.length, verdicts: verdicts.length, readme: options.readme }));
});

/**
 * Makes a finished reproduction the published one: copies its rows, report and figures to data/results and renders README's tables from the rows.
 * Without --from it renders README again from the rows that are there.
 */
import { join } from "@std/path";
import { decodeRows } from "quant-dllm";
import { main, readOptions } from "./cli.ts";
import { decodingClaims, decodingTable, usualSampler } from "./decoding_study.ts";
import { orderingLines, placesTable } from "./method_places.ts";
import { methodsTable } from "./methods_report.ts";
import { claims, mainTable, pairLines, sizeOptionsTable } from "./tables.ts";
import { secondWorldText, sparedTable, tuningClaims, tuningTable } from "./tuning_tables.ts";
import type { Verdict } from "./verdicts.ts";

const options = readOptions("deno task figures [options]", {
  from: { default: "", help: "folder of a finished `deno task reproduce`, say results/reproduce", path: true },
  tuning: {
    default: "",
    help: "folder of a finished `deno task reproduce --study tuning`, say results/tuning",
    path: true,
  },
  second: { default: "", help: "folder of a finished `deno task reproduce --study second-world`", path: true },
  methods: { default: "", help: "folder of a finished `deno task methods`", path: true },
  decoding: { default: "", help: "folder of a finished `deno task reproduce --study decoding`", path: true },
  results: { default: "data/results", help: "where the published rows and figures are", path: true },
  readme: { default: "README.md", help: "file with the markers <!-- table1 --> and <!-- /table1 -->", path: true },
});

await main(async () => {
  const { from, tuning, second, results } = options;
  const plain = ["means.jsonl", "verdicts.jsonl"];
  const finished: [folder: string, files: readonly string[], as: string][] = [
    [from, ["rows.jsonl", ...plain, "report.md"], ""],
    [tuning, [...plain, "curves.jsonl", "report.md"], "tuning_"],
    [options.methods, [...plain, "report.md", "figures/methods-front.svg"], "methods_"],
    [options.decoding, [...plain, "figures/decoding.svg"], "decoding_"],
    [second, plain, "second_world_"],
  ];
  const given = finished.filter(([folder]) => folder !== "");
  for (const [folder, files] of given) {
    for (const file of files) await checkThere(folder, file);
  }
  await Deno.mkdir(join(results, "figures"), { recursive: true });
  for (const [folder, files, as] of given.filter(([, , as]) => as !== "tuning_")) {
    for (const file of files) {
      await Deno.copyFile(join(folder, file), join(results, file.startsWith("figures/") ? file : `${as}${file}`));
    }
  }
  if (from) await copyFigures(from, results);
  if (tuning) {
    for (const file of ["means.jsonl", "verdicts.jsonl", "curves.jsonl"]) {
      await adoptStudies(join(tuning, file), join(results, `tuning_${file}`));
    }
    await adoptSections(join(tuning, "report.md"), join(results, "tuning_report.md"));
    await copyFigures(tuning, results);
  }
  const read = async (file: string) => decodeRows(await Deno.readTextFile(join(results, file)), join(results, file));
  const means = await read("means.jsonl");
  const judged = async (file: string) =>
    (await Deno.readTextFile(join(results, file))).split("\n").filter(Boolean).map((line) =>
      JSON.parse(line) as Verdict
    );
  const verdicts = await judged("verdicts.jsonl");
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
  const tuningMeans = await read("tuning_means.jsonl");
  fill("tuning", tuningTable(tuningMeans).toMarkdown());
  fill("spared", sparedTable(tuningMeans).toMarkdown());
  fill("tuning claims", tuningClaims(await judged("tuning_verdicts.jsonl")));
  fill(
    "second world",
    secondWorldText(await read("second_world_means.jsonl"), await judged("second_world_verdicts.jsonl")),
  );
  const methods = await read("methods_means.jsonl"), methodVerdicts = await judged("methods_verdicts.jsonl");
  fill("method places", placesTable(methods).toMarkdown());
  fill("methods", methodsTable(methods).toMarkdown());
  fill("methods claims", pairLines(methodVerdicts).join("\n"));
  fill("orderings", orderingLines(methodVerdicts));
  fill("decoding", decodingTable(await read("decoding_means.jsonl"), [usualSampler]).toMarkdown());
  fill("decoding claims", decodingClaims(await judged("decoding_verdicts.jsonl")));
  fill("sizes", sizeOptionsTable(await read("size_options.jsonl")).toMarkdown());
  await Deno.writeTextFile(options.readme, text);
  console.log(JSON.stringify({ means: means.length, verdicts: verdicts.length, readme: options.readme }));
});

/** Before anything is published: a folder without that file is none of a finished run. */
async function checkThere(folder: string, file: string): Promise<void> {
  const there = await Deno.stat(join(folder, file)).then(({ isFile }) => isFile, () => false);
  if (!there) throw new RangeError(`Cannot publish ${folder}: it holds no ${file}; name the folder of a finished run`);
}

async function copyFigures(from: string, results: string): Promise<void> {
  for await (const { name } of Deno.readDir(join(from, "figures"))) {
    if (name.endsWith(".svg")) await Deno.copyFile(join(from, "figures", name), join(results, "figures", name));
  }
}

/** Lines of the studies that `from` has take the place of those that `to` has of them, where the first of those stood. */
async function adoptStudies(from: string, to: string): Promise<void> {
  const read = async (path: string) => (await Deno.readTextFile(path)).split("\n").filter(Boolean);
  const studyOf = (line: string) => (JSON.parse(line) as { readonly study: string }).study;
  const fresh = Map.groupBy(await read(from), studyOf), stored = Map.groupBy(await read(to), studyOf);
  const merged = new Map([...stored, ...fresh]);
  await Deno.writeTextFile(to, [...merged.values()].flat().map((line) => `${line}\n`).join(""));
}

/** The same for the sections of a report, by their headings. */
async function adoptSections(from: string, to: string): Promise<void> {
  const read = async (path: string) => {
    const [head, ...sections] = (await Deno.readTextFile(path)).split(/^(?=## )/m);
    return { head, sections: new Map(sections.map((text) => [text.split("\n", 1)[0], text])) };
  };
  const fresh = await read(from), stored = await read(to);
  await Deno.writeTextFile(to, stored.head + [...new Map([...stored.sections, ...fresh.sections]).values()].join(""));
}

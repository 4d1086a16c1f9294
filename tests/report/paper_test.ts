import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { type PaperNumbers, parsePaper } from "../../lib/report/paper.ts";
import { paper } from "./gallery.ts";

const files = ["table1", "table2", "table3", "figure3"];

for (const name of files) {
  Deno.test(`data/paper/${name}.json keeps its schema: every number has a source in the paper, every table its caveats`, () => {
    const numbers = paper(name);
    assertEquals(numbers.id, name);
    assertEquals(numbers.paper.arxiv, "2510.03274");
    assert(numbers.caveats.length > 0);
    for (const entry of numbers.entries) {
      assert(entry.source.includes("arXiv 2510.03274"), entry.source);
      assert(entry.value >= 0 && entry.value <= 100);
    }
    const keys = numbers.entries.map(({ model, method, task, ablation, setting }) =>
      [model, method, task, ablation, setting].join("|")
    );
    assertEquals(new Set(keys).size, keys.length, "a number stands there twice");
  });
}

const values = (numbers: PaperNumbers, wanted: Partial<PaperNumbers["entries"][number]>) =>
  numbers.entries.filter((entry) => Object.entries(wanted).every(([k, v]) => entry[k as keyof typeof entry] === v)).map(
    ({ value }) => value,
  );

Deno.test("the averages of table 1 are the means of its tasks", () => {
  for (const method of ["FP16", "GPTQ", "GPTAQ", "Slim-LLM", "Quant-dLLM"]) {
    const [average, ...tasks] = values(paper("table1"), { model: "LLaDA-8B-Base", method }).reverse();
    assertEquals(tasks.length, 7);
    assertAlmostEquals(average, tasks.reduce((a, b) => a + b) / 7, 0.0051);
  }
});

Deno.test("the full method of table 2 is the MMLU of table 1", () => {
  const [mmlu] = values(paper("table1"), { model: "LLaDA-8B-Base", method: "Quant-dLLM", task: "MMLU" });
  for (const [ablation, setting] of [["a", "with MCS"], ["b", "5 %"], ["c", "RSR + DOR"], ["d", "128"]]) {
    assertEquals(values(paper("table2"), { model: "LLaDA-8B-Base", ablation, setting }), [mmlu]);
  }
});

Deno.test("parsePaper names the entry and the field", () => {
  const good = JSON.parse(Deno.readTextFileSync(new URL("../../data/paper/table2.json", import.meta.url)));
  const broken: [unknown, string][] = [
    [null, "the file"],
    [{ ...good, id: 3 }, '"id" of the file: found 3'],
    [{ ...good, entries: [] }, '"entries" of paper numbers "table2"'],
    [{ ...good, caveats: "none" }, '"caveats"'],
    [{ ...good, entries: [{ ...good.entries[0], value: "52" }] }, '"value" of entry 0'],
    [{ ...good, entries: [{ ...good.entries[0], source: "hearsay" }] }, "wanted one of table"],
    [{ ...good, entries: [good.entries[0], { ...good.entries[1], ablation: "e" }] }, '"ablation" of entry 1'],
    [{ ...good, paper: {} }, '"title" of paper numbers "table2"'],
  ];
  for (const [json, message] of broken) assertThrows(() => parsePaper(json), SyntaxError, message);
});

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { errorHeatmap } from "../../lib/report/charts.ts";
import { figure } from "../../lib/report/figure.ts";
import { ablationBars, mainBars } from "../../lib/report/figures.ts";
import { page } from "../../lib/report/page.ts";
import type { BarTrace, HeatmapTrace } from "../../lib/report/spec.ts";
import { table } from "../../lib/report/table.ts";
import { fakeTasks, mainRows, row } from "./fake_rows.ts";
import { gallery, paper } from "./gallery.ts";

Deno.test("mainBars: measured values are solid and exact, printed ones hatched and verbatim, in panels of their own", () => {
  const rows = mainRows();
  const made = mainBars(rows, paper("table1"), { pairs: { GPTQ: "gptq" } });
  const bars = made.data as BarTrace[];
  const gptq = bars.find(({ name }) => name === "gptq")!;
  const values = rows.filter(({ method, task }) => method === "gptq" && task === "piqa").map(({ value }) => value);
  assertAlmostEquals(gptq.y[2]!, 100 * values.reduce((a, b) => a + b) / 3, 1e-9);
  assertEquals(gptq.x, [...fakeTasks, "average"]);
  assertAlmostEquals(gptq.y[7]!, gptq.y.slice(0, 7).reduce<number>((a, b) => a + b!, 0) / 7, 1e-9);
  const printed = bars.find(({ name }) => name === "GPTQ (paper)")!;
  assertEquals(printed.y, [34.75, 57.85, 57.45, 22.44, 37.04, 33.77, 4.06, 35.34]);
  assertEquals(printed.marker!.color, gptq.marker!.color);
  for (const bar of bars) assertEquals(bar.marker!.pattern !== undefined, bar.yaxis === "y2", bar.name);
});

Deno.test("mainBars: a method without all tasks has no average, and a hole is no bar", () => {
  const made = mainBars([...mainRows(), row({ method: "partial", task: "piqa" })], undefined);
  const partial = made.data.find(({ name }) => name === "partial") as BarTrace;
  assertEquals(partial.y, [null, null, 50, null, null, null, null, null]);
});

Deno.test("ablationBars: a column for each ablation, with or without rows of our own", () => {
  const made = ablationBars([row({ ablation: "a", setting: "with MCS" })], paper("table2"));
  assertEquals(made.data.length, 1 + 4);
  assertEquals(made.layout.annotations!.map(({ text }) => text), [
    "(a) MCS",
    "(b) ABMP ratio",
    "(c) DAQ",
    "(d) calibration samples",
  ]);
  const panels = new Set(made.data.map(({ xaxis, yaxis }) => `${xaxis} ${yaxis}`));
  assertEquals(panels.size, 5);
});

Deno.test("errorHeatmap: repeats are averaged, absent pairs are null", () => {
  const cells = [[0, "q", 1], [0, "q", 3], [1, "k", 5]].map(([layer, linear, value]) => ({ layer, linear, value }));
  const trace = errorHeatmap(cells).data[0] as HeatmapTrace;
  assertEquals([trace.x, trace.y, trace.z], [["q", "k"], ["0", "1"], [[2, null], [null, 5]]]);
});

Deno.test("a figure's notebook bundle holds the interactive and the static form, is plain JSON, and stays small", () => {
  for (const made of Object.values(gallery())) {
    const bundle = (made as unknown as Record<symbol, () => Record<string, unknown>>)[Symbol.for("Jupyter.display")]();
    assertEquals(Object.keys(bundle), ["application/vnd.plotly.v1+json", "image/svg+xml", "text/plain"]);
    assertEquals(JSON.parse(JSON.stringify(bundle)), bundle);
    const text = JSON.stringify({ ...bundle, "application/vnd.plotly.v1+json": 0 });
    assert(text.length < 40_000, `${text.length} characters`);
  }
  assertEquals(gallery().main.toBundle({ png: "AAAA" })["image/png"], "AAAA");
});

Deno.test("axes of a second panel name each other, or Plotly would draw them in the first", () => {
  const { layout } = gallery().main;
  assertEquals([layout.xaxis2, layout.yaxis2].map((axis) => (axis as { anchor: string }).anchor), ["y2", "x2"]);
});

Deno.test("a page inlines the library once, and nothing in it ends a script early", () => {
  const evil = "</script><script>alert(1)</script>";
  const made = figure({ data: [{ type: "bar", name: evil, x: [evil], y: [1] }], layout: { title: { text: evil } } });
  const sections = [{ heading: evil, note: evil, figure: made }, { figure: made }, {
    table: table([row({ method: evil })], { row: "method", column: "task" }),
  }];
  const html = page({ title: evil, sections, plotly: { script: "var LIBRARY = '</script>' + '<!--';" } });
  assertEquals(html.match(/LIBRARY/g)!.length, 1);
  assertEquals(html.match(/<script/g)!.length, html.match(/<\/script>/g)!.length);
  assertEquals(html.match(/<script/g)!.length, 2);
  assert(made.toHtml({ src: "plotly.min.js" }).includes('<script src="plotly.min.js"></script>'));
});

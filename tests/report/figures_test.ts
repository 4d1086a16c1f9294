import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { differenceDots, errorHeatmap, paretoFront } from "../../lib/report/charts.ts";
import { unmaskingFigure } from "../../lib/report/curves.ts";
import { figure } from "../../lib/report/figure.ts";
import { ablationDots, mainBars } from "../../lib/report/figures.ts";
import { page } from "../../lib/report/page.ts";
import type { Axis, BarTrace, HeatmapTrace, ScatterTrace } from "../../lib/report/spec.ts";
import { table } from "../../lib/report/table.ts";
import { fakeTasks, mainRows, row } from "./fake_rows.ts";
import { gallery, paper, unmasking } from "./gallery.ts";

Deno.test("mainBars: measured values are solid and exact, printed ones pale and verbatim, in panels of one scale", () => {
  const rows = mainRows();
  const made = mainBars(rows, paper("table1"));
  const bars = made.data as BarTrace[];
  const gptq = bars.find(({ name }) => name === "gptq")!;
  const values = rows.filter(({ method, task }) => method === "gptq" && task === "piqa").map(({ value }) => value);
  assertAlmostEquals(gptq.y[2]!, 100 * values.reduce((a, b) => a + b) / 3, 1e-9);
  assertEquals(gptq.x, [...fakeTasks, "average"]);
  assertAlmostEquals(gptq.y[7]!, gptq.y.slice(0, 7).reduce<number>((a, b) => a + b!, 0) / 7, 1e-9);
  const printed = bars.find(({ name }) => name === "GPTQ (paper)")!;
  assertEquals(printed.y, [34.75, 57.85, 57.45, 22.44, 37.04, 33.77, 4.06, 35.34]);
  assertEquals(printed.marker!.line!.color, gptq.marker!.color);
  for (const bar of bars) assertEquals(bar.marker!.line !== undefined, bar.yaxis === "y2", bar.name);
  const axes = [made.layout.yaxis, made.layout.yaxis2] as Axis[];
  assertEquals(axes.map(({ range }) => range), [[0, 100], [0, 100]]);
  const colors = (ours: boolean) =>
    bars.filter(({ yaxis }) => (yaxis === "y2") !== ours).map(({ marker }) => marker!.line?.color ?? marker!.color);
  for (const side of [colors(true), colors(false)]) assertEquals(new Set(side).size, side.length);
  assertEquals(
    made.layout.title!.subtitle!.text,
    "mean ± standard error over 3 seeds; n = 300 per task; 2.250 bits per weight, all counted",
  );
});

Deno.test("mainBars: a method without all tasks has no average, and a hole is no bar", () => {
  const made = mainBars([...mainRows(), row({ method: "partial", task: "piqa" })], undefined);
  const partial = made.data.find(({ name }) => name === "partial") as BarTrace;
  assertEquals(partial.y, [null, null, 50, null, null, null, null, null]);
});

Deno.test("ablationDots: a line for each setting, sides share their lines and ablations their scale", () => {
  const rows = [
    row({ ablation: "a", setting: "with MCS", value: 0.5 }),
    row({ ablation: "e", setting: "new", value: 0.7 }),
  ];
  const made = ablationDots(rows, paper("table2"));
  assertEquals(made.layout.annotations!.map(({ text }) => text), [
    "(a) MCS",
    "(b) ABMP ratio",
    "(c) DAQ",
    "(d) calibration samples",
    "(e)",
  ]);
  const [ours, theirs] = made.data as ScatterTrace[];
  assertEquals([ours.x, ours.y, theirs.x, theirs.y], [[50], ["with MCS"], [52.1, 56.87], ["without MCS", "with MCS"]]);
  const [left, right] = [made.layout.yaxis, made.layout.yaxis2] as Axis[];
  assertEquals([left.categoryarray, left.domain], [right.categoryarray, right.domain]);
  const ranges = (start: number) =>
    Array.from(
      { length: 5 },
      (_, i) => (made.layout[`xaxis${2 * i + start === 1 ? "" : 2 * i + start}`] as Axis).range,
    );
  for (const side of [ranges(1), ranges(2)]) assertEquals(new Set(side.map(String)).size, 1);
  assert(ranges(1)[0]![0] > 40, "no bars from zero");
});

const difference = {
  a: "levels",
  b: "GPTQ",
  metric: "accuracy",
  difference: 0.05,
  standardError: 0.01,
  n: 400,
  seeds: 5,
  verdict: "better",
};

Deno.test("differenceDots: intervals as given or two standard errors, hollow when they hold zero, a panel for each metric", () => {
  const made = differenceDots([
    { ...difference, interval: [0.02, 0.09] },
    { ...difference, a: "RTN", difference: -0.01, verdict: "no clear difference" },
    { ...difference, metric: "nats per token", difference: -0.3, standardError: 0.1 },
  ]);
  const [clear, open, nats] = made.data as ScatterTrace[];
  assertEquals(clear.y, ["levels − GPTQ<br>+5.0 ± 1.0, better"]);
  assertAlmostEquals(clear.error_x!.array[0]!, 4, 1e-9);
  assertAlmostEquals(clear.error_x!.arrayminus![0]!, 3, 1e-9);
  assertEquals(open.y, ["RTN − GPTQ<br>−1.0 ± 1.0, no clear difference"]);
  assertAlmostEquals(open.error_x!.array[0]!, 2, 1e-9);
  assertEquals([clear, open].map(({ marker }) => marker!.color), ["#222222", "#ffffff"]);
  assertEquals([nats.x, nats.xaxis], [[-0.3], "x2"]);
  assertEquals(made.layout.title!.subtitle!.text, "intervals of two standard errors; 5 seeds, n = 400");
  const axis = made.layout.xaxis!;
  assertEquals([axis.zeroline, axis.rangemode], [true, "tozero"]);
});

Deno.test("paretoFront: a panel for each metric, methods named once", () => {
  const made = paretoFront(["accuracy", "nats per token"].flatMap((metric) => [
    row({ metric, method: "GPTQ", bitsPerWeight: 2, value: 0.5 }),
    row({ metric, method: "levels", bitsPerWeight: 3, value: 0.75 }),
  ]));
  const data = made.data as ScatterTrace[];
  assertEquals(data.filter(({ showlegend }) => showlegend).map(({ name }) => name), ["front", "GPTQ", "levels"]);
  const fronts = data.filter(({ name }) => name === "front");
  // Much accuracy is good: three bits are on the front. Few nats are: they are not.
  assertEquals(fronts.map(({ x, yaxis }) => [x, yaxis]), [[[2, 3, 3], "y"], [[2, 3], "y2"]]);
});

Deno.test("paretoFront: the front is what no other reaches with as few bits, full precision is dashed", () => {
  const points: [string, number, number][] = [
    ["rtn", 0.6, 2.1],
    ["gptq", 0.7, 2.1],
    ["levels", 0.65, 2.3],
    ["plus", 0.8, 2.4],
    ["rtn", 0.8, 3],
    ["fp", 0.9, 16],
  ];
  const made = paretoFront(points.map(([method, value, bitsPerWeight]) => row({ method, value, bitsPerWeight })));
  const front = made.data.find(({ name }) => name === "front") as ScatterTrace;
  assertEquals([front.x, front.y, front.line!.shape], [[2.1, 2.4, 3], [70, 80, 80], "hv"]);
  const full = made.data.find(({ name }) => name === "fp") as ScatterTrace;
  assertEquals([full.x, full.y, full.line!.dash], [[2.1, 3], [90, 90], "dash"]);
  const colors = made.data.filter(({ name }) => name !== "front").map((trace) => trace.marker!.color);
  assertEquals(new Set(colors).size, colors.length);
  const named = paretoFront(points.map(([method, value, bitsPerWeight]) => row({ method, value, bitsPerWeight })), {
    ...{ point: "method", named: true },
  });
  const names = named.data.find(({ name }) => name === "front") as ScatterTrace;
  assertEquals([names.mode, names.text], ["lines+text", ["gptq", "plus", ""]]);
  const low = paretoFront(
    points.map(([method, value, bitsPerWeight]) => row({ method, value, bitsPerWeight, metric: "nats per token" })),
  );
  assertEquals((low.data.find(({ name }) => name === "front") as ScatterTrace).y, [0.6, 0.6]);
});

Deno.test("errorHeatmap: repeats are averaged, absent pairs are null", () => {
  const cells = [[0, "q", 1], [0, "q", 3], [1, "k", 5]].map(([layer, linear, value]) => ({ layer, linear, value }));
  const trace = errorHeatmap(cells).data[0] as HeatmapTrace;
  assertEquals([trace.x, trace.y, trace.z], [["q", "k"], ["0", "1"], [[2, null], [null, 5]]]);
});

Deno.test("errorHeatmap: whole numbers have a colour each, other values a colour bar", () => {
  const of = (...values: number[]) =>
    errorHeatmap(values.map((value, layer) => ({ layer, linear: "q", value }))).data[0] as HeatmapTrace;
  const planes = of(1, 3, 2, 3);
  assertEquals([planes.colorbar!.tickvals, planes.zmin, planes.zmax], [[1, 2, 3], 0.5, 3.5]);
  assertEquals(new Set(planes.colorscale.map(([, color]) => color)).size, 3);
  assertEquals(of(1, 2.5).colorbar!.tickvals, undefined);
  assertEquals(of(1, 200).colorbar!.tickvals, undefined);
});

Deno.test("a figure's notebook bundle holds the interactive and the static form, is plain JSON, and stays small", async () => {
  for (const made of Object.values(gallery())) {
    const bundle = await (made as unknown as Record<symbol, () => Promise<Record<string, unknown>>>)[
      Symbol.for("Jupyter.display")
    ]();
    assertEquals(Object.keys(bundle), ["application/vnd.plotly.v1+json", "image/svg+xml", "text/plain"]);
    assertEquals(JSON.parse(JSON.stringify(bundle)), bundle);
    const text = JSON.stringify({ ...bundle, "application/vnd.plotly.v1+json": 0 });
    assert(text.length < 60_000, `${text.length} characters`);
  }
  assertEquals((await gallery().main.toBundle({ png: "AAAA" }))["image/png"], "AAAA");
});

Deno.test("axes of a second panel name each other, or Plotly would draw them in the first", () => {
  const { layout } = gallery().main;
  assertEquals([layout.xaxis2, layout.yaxis2].map((axis) => (axis as { anchor: string }).anchor), ["y2", "x2"]);
});

Deno.test("a page inlines the library once, and nothing in it ends a script early", async () => {
  const evil = "</script><script>alert(1)</script>";
  const made = figure({ data: [{ type: "bar", name: evil, x: [evil], y: [1] }], layout: { title: { text: evil } } });
  const sections = [{ heading: evil, note: evil, figure: made }, { figure: made }, {
    table: table([row({ method: evil })], { row: "method", column: "task" }),
  }];
  const html = await page({ title: evil, sections, plotly: { script: "var LIBRARY = '</script>' + '<!--';" } });
  assertEquals(html.match(/LIBRARY/g)!.length, 1);
  assertEquals(html.match(/<script/g)!.length, html.match(/<\/script>/g)!.length);
  assertEquals(html.match(/<script/g)!.length, 2);
  assert((await made.toHtml({ src: "plotly.min.js" })).includes('<script src="plotly.min.js"></script>'));
});

Deno.test("a text that is unmasked: a row for each token of the answer, grey until it is committed", () => {
  const decode = (token: number) => `w${token}`;
  const trace = unmaskingFigure(unmasking, { decode }).data[0] as HeatmapTrace;
  assertEquals(trace.x, ["1", "2", "3"]);
  assertEquals(trace.y, ["1: w0", "2: w1", "3: w2", "4: w3", "5: w4", "6: ·"]);
  const n = null;
  assertEquals(trace.z, [[0.98, 0.98, 0.98], [n, n, 0.7], [n, n, 0.2], [n, n, 0.9], [n, n, 0.4], [n, n, n]]);
  assertEquals([trace.zmin, trace.zmax], [0, 1]);
  // Negative entropies: from the least sure to certainty.
  const entropies = unmasking.map((state) => ({
    ...state,
    committed: state.committed?.map((commit) => ({ ...commit, confidence: -2 * commit.confidence })),
  }));
  const other = unmaskingFigure(entropies, { decode }).data[0] as HeatmapTrace;
  assertEquals([other.zmin, other.zmax], [-1.96, -0.4]);
  assertThrows(() => unmaskingFigure([], { decode }), RangeError, "no states");
  assertThrows(() => unmaskingFigure(unmasking.slice(1), { decode }), RangeError, "all states of a walk");
});

import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { figure } from "../../lib/report/figure.ts";
import { categoriesOf, type FigureSpec, panelsOf } from "../../lib/report/spec.ts";
import { vegaLite } from "../../lib/report/vega/translate.ts";
import { sizeOfSvg } from "../../scripts/render.ts";
import { deno } from "../deno.ts";
import { gallery } from "./gallery.ts";
import { assertWellFormed, linesOf, textBoxes } from "./svg.ts";

/** All words that a figure must show: titles, panels, axes, categories, the names of the legend. */
function wordsOf({ data, layout }: FigureSpec): string[] {
  const axes = Object.entries(layout).filter(([key]) => /^[xy]axis/.test(key)).map(([, axis]) =>
    axis as { title?: { text: string } }
  );
  const named = data.filter(({ type, name, showlegend }) => type !== "heatmap" && name && showlegend !== false);
  const texts = [
    layout.title?.text,
    layout.title?.subtitle?.text,
    ...(layout.annotations ?? []).map(({ text }) => text),
    ...axes.map(({ title }) => title?.text),
    ...panelsOf(data).flatMap(({ x, y, traces }) => [x, y].flatMap((ref) => categoriesOf(layout, ref, traces) ?? [])),
    ...(new Set(named.map(({ name }) => name)).size > 1 ? named.map(({ name }) => name) : []),
  ];
  return texts.flatMap((text) => text?.split(/<br>|[ -]/) ?? []).filter((word) => word !== "");
}

for (const [name, made] of Object.entries(gallery())) {
  Deno.test(`picture of "${name}": well formed, every word there, none outside or over another, at most 830 wide`, async () => {
    const svg = await made.toSvg();
    assertWellFormed(svg);
    assert(!/NaN|undefined|Infinity|null/.test(svg), "a coordinate is missing");
    const words = new Set(linesOf(svg).flatMap((line) => line.split(/[ -]/)));
    for (const word of wordsOf(made)) assert(words.has(word), `"${word}" is not drawn`);
    const { width, height } = sizeOfSvg(svg);
    assert(width <= 830, `${width} pixels wide`);
    const boxes = textBoxes(svg);
    boxes.forEach((a, i) => {
      assert(a.left >= 0 && a.right <= width && a.top >= 0 && a.bottom <= height, `"${a.content}" leaves the picture`);
      for (const b of boxes.slice(i + 1)) {
        const apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
        assert(apart, `"${a.content}" lies over "${b.content}"`);
      }
    });
  });
}

Deno.test("pictures do not depend on what was drawn before or meanwhile", async () => {
  const { heatmap, main, bits = main } = gallery();
  const alone = await heatmap.toSvg();
  const together = await Promise.all([bits, heatmap, main, heatmap].map((made) => made.toSvg()));
  assertEquals([together[1], together[3]], [alone, alone]);
  assert(alone.includes('id="part0"') && alone.includes("url(#part0)"), "the colour bar has its gradient");
});

Deno.test("bars are as high as their values, error bars reach value ± error, and opacity is kept", async () => {
  const svg = await figure({
    data: [{
      type: "bar",
      name: "a",
      x: ["a", "b", "c"],
      y: [1, 3, null],
      error_y: { array: [0.5, null, 1] },
      marker: { opacity: 0.5 },
    }],
    layout: { yaxis: { range: [0, 4] } },
  }).toSvg();
  const bars = [...svg.matchAll(/<path d="M[-\d.]+,([-\d.]+)h[-\d.]+v([-\d.]+)h[^>]*opacity="0.5"/g)].map((
    [, y, h],
  ) => [Number(y), Number(h)]);
  assertEquals(bars.length, 2);
  assertAlmostEquals(bars[1][1] / bars[0][1], 3, 1e-9);
  const rules = [
    ...svg.matchAll(/<line transform="translate\([-\d.]+,([-\d.]+)\)" x2="0" y2="([-\d.]+)"[^>]*stroke-width="1.4"/g),
  ];
  assertEquals(rules.length, 1);
  const [from, length] = rules[0].slice(1).map(Number);
  assertAlmostEquals(Math.abs(length) / bars[0][1], 1, 1e-9);
  assertAlmostEquals(from + length / 2, bars[0][0], 1e-9);
});

Deno.test("a line breaks where a value is missing", async () => {
  const svg = await figure({
    data: [{
      type: "scatter",
      mode: "lines",
      name: "p",
      x: [0, 1, 2, 3, 4],
      y: [1, 2, null, 3, 4],
      line: { color: "#123456" },
    }],
    layout: {},
  }).toSvg();
  assertEquals(/<path[^>]*d="(M[^"]*)"[^>]*stroke="#123456"/.exec(svg)![1].match(/M/g)!.length, 2);
});

Deno.test("names, labels and colours cannot smuggle markup", async () => {
  const evil = `"><script>alert(1)</script>&\u0001'+datum.x+'`;
  const svg = await figure({
    data: [
      { type: "bar", name: evil, x: [evil], y: [1], text: [evil], marker: { color: evil } },
      { type: "bar", name: "b", x: [evil], y: [2] },
      {
        type: "scatter",
        mode: "markers",
        name: "c",
        x: [evil],
        y: [2],
        marker: { color: evil, line: { color: evil } },
      },
    ],
    layout: {
      title: { text: evil, subtitle: { text: evil } },
      xaxis: { title: { text: evil } },
      yaxis: { title: { text: evil } },
    },
  }).toSvg();
  assertWellFormed(svg);
  assert(!svg.includes("<script"));
});

Deno.test("empty, single-valued and all-missing figures still draw", async () => {
  const empty: FigureSpec[] = [
    { data: [], layout: {} },
    { data: [{ type: "bar", x: [], y: [] }], layout: { title: { text: "none" } } },
    { data: [{ type: "scatter", mode: "lines+markers", x: [1], y: [5] }], layout: {} },
    { data: [{ type: "scatter", mode: "lines", x: [1, 2], y: [null, null] }], layout: { yaxis: { type: "log" } } },
    {
      data: [{
        type: "heatmap",
        x: ["a"],
        y: ["b"],
        z: [[null]],
        zmin: 0,
        zmax: 1,
        colorscale: [[0, "#fff"], [1, "#000"]],
      }],
      layout: {},
    },
  ];
  for (const spec of empty) {
    const svg = await figure(spec).toSvg();
    assertWellFormed(svg);
    assert(!/NaN|Infinity/.test(svg), svg);
  }
});

Deno.test("a trace that cannot be drawn is refused by name", async () => {
  const made = figure({ data: [{ type: "pie", x: ["a"], y: [1] } as never], layout: {} });
  await assertRejects(() => made.toSvg(), TypeError, 'Cannot draw a "pie" trace');
});

Deno.test("panels stand where the domains of their axes say, and a missing one leaves its place empty", () => {
  const trace = { type: "bar", x: ["a"], y: [1] } as const;
  const { layout, data } = figure({
    data: [trace, { ...trace, xaxis: "x2", yaxis: "y2" }, { ...trace, xaxis: "x3", yaxis: "y3" }],
    layout: {
      width: 800,
      height: 600,
      margin: { l: 100, r: 100, t: 100, b: 100 },
      xaxis: { domain: [0, 0.4] },
      yaxis: { domain: [0.6, 1] },
      xaxis2: { domain: [0.6, 1] },
      yaxis2: { domain: [0, 0.4] },
      xaxis3: { domain: [0, 0.4] },
      yaxis3: { domain: [0, 0.4] },
    },
  });
  const spec = vegaLite({ layout, data }) as unknown as {
    concat: { width: number; height: number; layer?: unknown[] }[];
    columns: number;
    spacing: unknown;
  };
  assertEquals(spec.columns, 2);
  assertEquals(spec.concat.map(({ width, height, layer }) => [width, height, layer !== undefined]), [
    [240, 160, true],
    [240, 160, false],
    [240, 160, true],
    [240, 160, true],
  ]);
  assertEquals(spec.spacing, { column: 119, row: 79 });
});

Deno.test("what draws no figure does not load the renderer", async () => {
  const program = `
    import { figure, table } from "quant-dllm";
    table([], { row: "method", column: "task" });
    figure({ data: [{ type: "bar", x: ["a"], y: [1] }], layout: {} });
    console.log(Object.keys(globalThis).length > 0);`;
  const file = await Deno.makeTempFile({ dir: new URL("./", import.meta.url).pathname, suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, program);
    const { code, stdout, stderr } = await deno(["info", "--json", file]);
    assertEquals(code, 0, stderr);
    const { modules } = JSON.parse(stdout) as {
      modules: {
        specifier: string;
        dependencies?: { specifier: string; code?: { specifier: string }; isDynamic?: boolean }[];
      }[];
    };
    const eager = modules.flatMap(({ specifier, dependencies = [] }) =>
      specifier.includes("/lib/")
        ? dependencies.filter((d) => /^vega/.test(d.specifier) && d.code && !d.isDynamic).map((d) =>
          `${specifier} loads ${d.specifier}`
        )
        : []
    );
    assertEquals(eager, []);
    assert(modules.some(({ dependencies = [] }) => dependencies.some((d) => d.specifier === "vega" && d.isDynamic)));
  } finally {
    await Deno.remove(file);
  }
});

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { figure } from "../../lib/report/figure.ts";
import { renderSvg } from "../../lib/report/svg.ts";
import { heatColor } from "../../lib/report/svg_marks.ts";
import { histogramCounts } from "../../lib/report/svg_panels.ts";
import { textWidth } from "../../lib/report/svg_text.ts";
import type { HeatmapTrace } from "../../lib/report/spec.ts";
import { gallery } from "./gallery.ts";

/** Throws unless every element of an XML text is closed in its order and every attribute is quoted. */
function assertWellFormed(xml: string) {
  const open: string[] = [];
  const rest = xml.replace(
    /<(\/?)([\w:-]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g,
    (_, closing, name, _attributes, empty) => {
      if (closing) assertEquals(open.pop(), name);
      else if (!empty) open.push(name);
      return "";
    },
  );
  assertEquals(open, []);
  assert(!/[<>]|&(?!amp;|lt;|gt;|quot;|#39;)/.test(rest), "markup left over");
}

/** Boxes of the texts that stand level or upright, from the estimated width of their letters. */
function textBoxes(svg: string) {
  const number = (attributes: string, name: string) =>
    Number(new RegExp(`\\b${name}="([-\\d.]+)"`).exec(attributes)?.[1] ?? NaN);
  return [...svg.matchAll(/<text ([^>]*)>([^<]*)<\/text>/g)].flatMap(([, attributes, raw]) => {
    const content = raw.replaceAll("&lt;", "<").replaceAll("&amp;", "&").replaceAll("&gt;", ">");
    const size = number(attributes, "font-size");
    const width = textWidth(content, size) / 1.04;
    const back = attributes.includes('"middle"') ? width / 2 : attributes.includes('"end"') ? width : 0;
    const turned = /translate\(([-\d.]+) ([-\d.]+)\) rotate\(([-\d.]+)\)/.exec(attributes);
    if (turned && turned[3] !== "-90") return [];
    const [x, y] = turned ? [Number(turned[1]), Number(turned[2])] : [number(attributes, "x"), number(attributes, "y")];
    const box = turned
      ? { left: x - size / 2, right: x + size / 2, top: y - width + back, bottom: y + back }
      : { left: x - back, right: x - back + width, top: y - 0.75 * size, bottom: y + 0.2 * size };
    return [{ content, ...box }];
  });
}

for (const [name, made] of Object.entries(gallery())) {
  Deno.test(`svg of "${name}": well formed, deterministic, no text outside the picture or over another`, () => {
    const svg = made.toSvg();
    assertWellFormed(svg);
    assertEquals(renderSvg(made), svg);
    assert(!/NaN|undefined|Infinity|null/.test(svg), "a coordinate is missing");
    const boxes = textBoxes(svg);
    const { width = 0, height = 0 } = made.layout;
    boxes.forEach((a, i) => {
      assert(a.left >= 0 && a.right <= width && a.top >= 0 && a.bottom <= height, `"${a.content}" leaves the picture`);
      for (const b of boxes.slice(i + 1)) {
        const apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
        assert(apart, `"${a.content}" lies over "${b.content}"`);
      }
    });
  });
}

Deno.test("svg: bar heights are proportional to the values, error bars reach value ± error", () => {
  const svg = renderSvg({
    data: [{ type: "bar", x: ["a", "b", "c"], y: [1, 3, null], error_y: { array: [0.5, null, 1] } }],
    layout: { yaxis: { range: [0, 4] } },
  });
  const bars = [...svg.matchAll(/<rect x="[^"]+" y="([^"]+)" width="[^"]+" height="([^"]+)" fill="#0072b2"/g)].map((
    [, y, h],
  ) => [Number(y), Number(h)]);
  assertEquals(bars.length, 2);
  assertAlmostEquals(bars[1][1] / bars[0][1], 3, 0.01);
  const [, low, high] = /<path d="M[\d.]+ ([\d.]+)V([\d.]+)M/.exec(svg)!.map(Number);
  assertAlmostEquals((low - high) / bars[0][1], 1, 0.01);
  assertAlmostEquals((low + high) / 2, bars[0][0], 0.02);
});

Deno.test("svg: a line breaks where a value is missing, and dashes stay in the legend", () => {
  const svg = renderSvg({
    data: [
      { type: "scatter", mode: "lines", name: "p", x: [0, 1, 2, 3], y: [1, 2, null, 3], line: { dash: "dash" } },
      { type: "scatter", mode: "markers", name: "q", x: [0], y: [1], marker: { symbol: "diamond" } },
    ],
    layout: { xaxis: { type: "linear" }, yaxis: { type: "log" } },
  });
  assertWellFormed(svg);
  assertEquals(/<path d="(M[^"]*)" fill="none" stroke="#0072b2"/.exec(svg)![1].match(/M/g)!.length, 2);
  assertEquals(svg.match(/stroke-dasharray/g)!.length, 2);
});

Deno.test("svg: names, labels and colours cannot smuggle markup", () => {
  const evil = `"><script>alert(1)</script>&\u0001`;
  const svg = renderSvg({
    data: [
      { type: "bar", name: evil, x: [evil], y: [1], text: [evil], marker: { color: evil } },
      { type: "bar", name: "b", x: [evil], y: [2], marker: { color: evil, pattern: { shape: "/" } } },
    ],
    layout: {
      title: { text: evil, subtitle: { text: evil } },
      xaxis: { title: { text: evil } },
      yaxis: { title: { text: evil } },
    },
  });
  assertWellFormed(svg);
  assert(!svg.includes("<script"));
});

Deno.test("svg: empty, single-valued and all-missing figures still draw", () => {
  const empty = [
    figure({ data: [], layout: {} }),
    figure({ data: [{ type: "bar", x: [], y: [] }], layout: { title: { text: "none" } } }),
    figure({ data: [{ type: "scatter", mode: "lines+markers", x: [1], y: [5] }], layout: {} }),
    figure({
      data: [{ type: "scatter", mode: "lines", x: [1, 2], y: [null, null] }],
      layout: { yaxis: { type: "log" } },
    }),
    figure({ data: [{ type: "heatmap", x: ["a"], y: ["b"], z: [[null]] }], layout: {} }),
  ];
  for (const made of empty) {
    assertWellFormed(made.toSvg());
    assert(!/NaN|Infinity/.test(made.toSvg()), made.toSvg());
  }
});

Deno.test("histogramCounts loses no number and normalises as it says", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 1, maxLength: 100 }),
      fc.integer({ min: 1, max: 30 }),
      (x, bins) => {
        const trace = { type: "histogram", x, xbins: { start: -3, end: 3, size: 6 / bins } } as const;
        const sum = (counts: number[]) => counts.reduce((a, b) => a + b, 0);
        assertEquals(sum(histogramCounts(trace)), x.length);
        assertAlmostEquals(sum(histogramCounts({ ...trace, histnorm: "probability" })), 1, 1e-9);
        assertAlmostEquals(sum(histogramCounts({ ...trace, histnorm: "probability density" })) * 6 / bins, 1, 1e-9);
      },
    ),
    { seed: 10, numRuns: 200 },
  );
});

Deno.test("heat colours run from one end of the scale to the other", () => {
  const trace: HeatmapTrace = {
    type: "heatmap",
    x: [],
    y: [],
    z: [],
    colorscale: [[0, "#000000"], [0.5, "#800000"], [1, "#ffffff"]],
  };
  assertEquals([-1, 0, 0.25, 0.5, 1, 2].map((t) => heatColor(trace, t)), [
    "#000000",
    "#000000",
    "#400000",
    "#800000",
    "#ffffff",
    "#ffffff",
  ]);
});

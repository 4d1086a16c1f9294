import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { escapeHtml, escapeMarkdown, scriptJson } from "../../lib/report/escape.ts";
import { table, textTable } from "../../lib/report/table.ts";
import { mainRows, row } from "./fake_rows.ts";

Deno.test("table: order of first appearance, mean ± error over seeds, n/a for holes, best in bold", () => {
  const rows = [
    row({ method: "b|x", task: "t2", value: 0.5, seed: 1 }),
    row({ method: "b|x", task: "t2", value: 0.7, seed: 2 }),
    row({ method: "a", calibration: "masked", task: "t1", value: 0.25, standardError: 0.01 }),
    row({ method: "a", calibration: "masked", task: "t2", value: 0.6, standardError: 0.02 }),
  ];
  const made = table(rows, {
    row: ["method", "calibration"],
    column: "task",
    best: "max",
    scale: 100,
    caption: "Main",
  });
  assertEquals(
    made.toMarkdown(),
    `Main

| method | calibration | t2 | t1 |
| --- | --- | ---: | ---: |
| b\\|x |  | **60.00 ± 10.00** | n/a |
| a | masked | **60.00 ± 2.00** | 25.00 ± 1.00 |
`,
  );
  assertEquals(made.body[0][2], { text: "60.00 ± 10.00", best: true });
  assert(made.toText().includes("60.00 ± 10.00 *"));
});

Deno.test("table: digits follow the column, best may be the smallest, another field may be shown", () => {
  const rows = [row({ value: 1.23456, bitsPerWeight: 2.25 }), row({ method: "m", value: 0.5, bitsPerWeight: 16 })];
  const body = table(rows, { row: "method", column: "task", best: () => "min" }).body;
  assertEquals(body.map((line) => line[1]), [{ text: "1.235 ± 0.030", best: false }, {
    text: "0.500 ± 0.030",
    best: true,
  }]);
  const bits = table(rows, { row: "method", column: "task", value: "bitsPerWeight" }).body;
  assertEquals(bits.map((line) => line[1].text), ["2.25", "16.00"]);
});

Deno.test("table: metrics that would share a cell get columns of their own; otherwise the label stays short", () => {
  const rows = [row({ task: "elbo", metric: "nats" }), row({ task: "elbo", metric: "perplexity" }), row({})];
  assertEquals(table(rows, { row: "method", column: "task" }).header, [
    "method",
    "elbo, nats",
    "elbo, perplexity",
    "mmlu, accuracy",
  ]);
  assertThrows(() => table(rows, { row: "method", column: "task", average: true }), RangeError, "different metrics");
});

Deno.test("table: the average is over complete lines only", () => {
  const rows = [...mainRows(), row({ method: "partial" })];
  const made = table(rows, { row: "method", column: "task", average: "avg" });
  assertEquals(made.header.at(-1), "avg");
  assertEquals(made.body.at(-1)!.at(-1)!.text, "n/a");
  const rtn = rows.filter((r) => r.method === "rtn").map((r) => r.value);
  assert(made.body[1].at(-1)!.text.startsWith((rtn.reduce((a, b) => a + b) / rtn.length).toFixed(3)));
});

Deno.test("a table shows itself in a notebook, with everything escaped", () => {
  const evil = `<script>alert("1")</script>|&'`;
  const made = table([row({ method: evil })], { row: "method", column: "task", caption: evil });
  const bundle = (made as unknown as Record<symbol, () => Record<string, string>>)[Symbol.for("Jupyter.display")]();
  assertEquals(Object.keys(bundle), ["text/html", "text/markdown", "text/plain"]);
  assert(!bundle["text/html"].includes("<script"));
  assert(!bundle["text/markdown"].split("\n").slice(2).join("").includes("<script"));
  assertEquals(textTable(["a", "b"], [["x", "1"]]).toMarkdown(), "| a | b |\n| --- | ---: |\n| x | 1 |\n");
});

Deno.test("columns of texts read from the left, columns of numbers stand at the right, in all forms", () => {
  const made = textTable(["setting", "verdict", "error", "factor", "share", "gain"], [
    ["a", "better", "0.0012", "1.03 x", "5 %", "+5.1 ± 0.6 points"],
    ["b", "", "n/a", "", "100 %", "−2.0 ± 0.1 points"],
  ]);
  assert(made.toMarkdown().includes("| --- | --- | ---: | ---: | ---: | ---: |"));
  assertEquals(made.toHtml().match(/<th style="text-align:(\w+)"/g)!.map((th) => th.includes("left")), [
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
  assertEquals(made.toText().split("\n")[1].slice(0, 17), "a        better  ");
  const mixed = textTable(["a", "b"], [["x", "1.0"], ["y", "5 % by rank"]]);
  assert(mixed.toMarkdown().includes("| --- | --- |"), "one text makes a column of texts");
});

Deno.test("escapes leave nothing that ends its context", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      // deno-lint-ignore no-control-regex -- the characters XML forbids
      assert(!/[<>"'\u0000-\u0008]/.test(escapeHtml(text)));
      assert(!/[\n<]|(^|[^\\])(\\\\)*\|/.test(escapeMarkdown(text)));
      assert(!scriptJson({ text }).includes("<"));
      assertEquals(JSON.parse(scriptJson({ text })), { text });
    }),
    { seed: 7, numRuns: 300 },
  );
});

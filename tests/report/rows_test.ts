import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { decodeRows, encodeRows, type Row, summarise } from "../../lib/report/rows.ts";
import { row } from "./fake_rows.ts";

Deno.test("rows survive JSON lines, extra fields and all", () => {
  const arbitrary = fc.record({
    method: fc.string(),
    value: fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x + 0), // JSON has no -0
    seed: fc.integer(),
    layer: fc.integer(),
    "a note\n": fc.string(),
    gated: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(arbitrary, { maxLength: 5 }), (fields) => {
      const rows = fields.map((f) => row(f));
      assertEquals(decodeRows(encodeRows(rows)), rows);
    }),
    { seed: 5, numRuns: 100 },
  );
  assertEquals(decodeRows("\n \n"), []);
});

Deno.test("decodeRows names the file, the line and the field", () => {
  const good = encodeRows([row({})]);
  const without = (key: string) => JSON.stringify({ ...row({}), [key]: undefined });
  const cases: [string, string][] = [
    [`${good}{"method":`, 'Cannot read "main.jsonl", line 2: it is not JSON'],
    [`${good}\n[]`, "line 3: it is not an object"],
    ["null", "line 1: it is not an object"],
    [without("seed"), 'the field "seed" is missing, wanted a number'],
    [JSON.stringify({ ...row({}), value: null }), 'the field "value" is null'],
    [JSON.stringify({ ...row({}), calibration: 3 }), 'the field "calibration" is 3, wanted a string'],
    [JSON.stringify({ ...row({}), extra: [1] }), 'the field "extra" is [1]'],
    [JSON.stringify(row({})).replace('"value":0.5', '"value":1e999'), 'the field "value" is Infinity'],
  ];
  for (const [text, message] of cases) assertThrows(() => decodeRows(text, "main.jsonl"), SyntaxError, message);
  assertThrows(() => encodeRows([row({}), row({ value: NaN })]), TypeError, 'row 1: the field "value" is NaN');
});

Deno.test("summarise: the standard error over seeds by hand", () => {
  const [group] = summarise([1, 2, 4].map((value, i) => row({ value, seed: i })), ["method", "calibration"]);
  assertAlmostEquals(group.mean, 7 / 3);
  assertAlmostEquals(group.standardError, Math.sqrt(((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2 / 3));
  assertEquals([group.seeds, group.standardErrorOf, group.keys.calibration], [3, "seeds", ""]);
});

Deno.test("summarise: one seed falls back to the sampling error, averaged over its rows", () => {
  const rows = [row({ value: 1, standardError: 0.3 }), row({ value: 3, standardError: 0.4, task: "piqa" })];
  const [group] = summarise(rows, ["method"]);
  assertEquals([group.mean, group.standardErrorOf], [2, "sampling"]);
  assertAlmostEquals(group.standardError, 0.25);
  assert(Number.isNaN(summarise(rows, ["method"], "bitsPerWeight")[0].standardError), "bits have no sampling error");
});

Deno.test("summarise does not depend on the order of rows within a group", () => {
  const value = fc.double({ min: -10, max: 10, noNaN: true });
  fc.assert(
    fc.property(fc.array(value, { minLength: 2, maxLength: 6 }), (values) => {
      const rows: Row[] = values.map((v, seed) => row({ value: v, seed }));
      const [a] = summarise(rows, ["method"]);
      const [b] = summarise([...rows].reverse(), ["method"]);
      assertAlmostEquals(a.mean, b.mean, 1e-9);
      assertAlmostEquals(a.standardError, b.standardError, 1e-9);
    }),
    { seed: 6, numRuns: 100 },
  );
});

Deno.test("summarise refuses means that would not compare", () => {
  assertThrows(() => summarise([row({}), row({ metric: "nats" })], ["method"]), RangeError, 'add "metric"');
  const uneven = [row({}), row({ task: "piqa" }), row({ seed: 2 })];
  assertThrows(() => summarise(uneven, ["method"]), RangeError, "2 of seed 1, 1 of seed 2");
  assertThrows(() => summarise([row({})], ["method"], "loss"), TypeError, '"loss" is undefined');
});

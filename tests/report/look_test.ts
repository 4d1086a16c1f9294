import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { brokenLines, colorsOf, pale, textWidth } from "../../lib/report/look.ts";

const methods = [
  "full precision",
  "RTN",
  "GPTQ",
  "GPTQ + MCS",
  "GPTAQ",
  "AWQ",
  "SliM-LLM",
  "Quant-dLLM paper profile",
  "Quant-dLLM official profile",
  "Quant-dLLM plus profile",
  "levels",
];

Deno.test("every family of methods has a colour of its own, whichever others are there and in whatever order", () => {
  const colors = new Map(methods.map((name) => [name, colorsOf([name])[0]]));
  assertEquals(new Set(colors.values()).size, methods.length);
  fc.assert(
    fc.property(fc.shuffledSubarray(methods, { minLength: 1 }), (some) => {
      assertEquals(colorsOf(some), some.map((name) => colors.get(name)));
    }),
    { seed: 11, numRuns: 100 },
  );
});

Deno.test("labels, canonical names and the paper's names of a method share its colour", () => {
  const same = [
    ["full precision", "FP16", "fp"],
    ["RTN", "rtn-2b-g128"],
    ["GPTQ", "gptq-2b-g16"],
    ["SliM-LLM", "Slim-LLM"],
    ["Quant-dLLM official profile", "Quant-dLLM", "daq-official-2b-g32", "DAQ, official", "official"],
    ["Quant-dLLM paper profile", "daq-paper-2b-g32", "DAQ, paper"],
    ["Quant-dLLM plus profile", "daq-plus-2b-g128", "plus"],
  ];
  for (const names of same) assertEquals(new Set(names.map((name) => colorsOf([name])[0])).size, 1, names.join());
});

Deno.test("no colour twice in a figure: relatives and strangers get free ones, and too many are refused", () => {
  const names = [...methods, "GPTQ 3 bit", "GPTQ 4 bit"];
  assertThrows(() => colorsOf([...names, ..."abcdefgh"]), RangeError, "split the figure");
  const some = ["GPTQ", "GPTQ 3 bit", "training", "validation", "levels"];
  const colors = colorsOf(some, ["#e69f00"]);
  assertEquals(new Set([...colors, "#e69f00"]).size, some.length + 1);
  assertEquals(colors[0], colorsOf(["GPTQ"])[0]);
});

Deno.test("pale colours lie between the colour and white", () => {
  assertEquals([pale("#000000", 0.5), pale("#ffffff"), pale("#0072b2", 0)], ["#7f7f7f", "#ffffff", "#0072b2"]);
});

Deno.test("broken lines lose no letter and fit where their words do", () => {
  fc.assert(
    fc.property(
      fc.array(fc.stringMatching(/^[a-zA-Z]{1,12}$/), { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 20, max: 300 }),
      (words, width) => {
        const lines = brokenLines(words.join(" "), width, 12);
        assertEquals(lines.join(" "), words.join(" "));
        for (const line of lines) assert(textWidth(line, 12) <= width || !line.includes(" "), line);
      },
    ),
    { seed: 12, numRuns: 200 },
  );
  assertEquals(brokenLines("ARC-Challenge", 60, 12), ["ARC-", "Challenge"]);
});

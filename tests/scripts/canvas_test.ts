/** A text that is unmasked in a terminal. */
import { assertEquals } from "@std/assert";
import { Canvas, canvasLines } from "../../scripts/canvas.ts";

const plain = { width: 12, colour: false };
const cells = (...texts: (string | undefined)[]) => texts.map((text) => ({ text }));

Deno.test("lines are as wide as the terminal at most, words stay whole where they fit, masks are points", () => {
  assertEquals(canvasLines(cells("The", " sky", " is", " blue", undefined, undefined, "."), plain), [
    "The sky is",
    "blue··.",
  ]);
  assertEquals(canvasLines(cells("abcdefghijklmnop", " q"), plain), ["abcdefghijkl", "mnop q"]);
  assertEquals(canvasLines(cells("a", "\n\nb", "\x1b[2J"), plain), ["a", "", "b[2J"]);
  assertEquals(canvasLines([], plain), []);
});

Deno.test("colours by confidence take no room, and there are none without colour", () => {
  const sure = [{ text: "a", confidence: 0.95 }, { text: " b", confidence: 0.6 }, { text: " c", confidence: 0.1 }, {}];
  assertEquals(canvasLines(sure, { width: 6, colour: true }), [
    "\x1b[32ma\x1b[0m\x1b[33m b\x1b[0m\x1b[31m c\x1b[0m\x1b[2m·\x1b[0m",
  ]);
  assertEquals(canvasLines(sure, { width: 6, colour: false }), ["a b c·"]);
});

Deno.test("a state takes the place of the one before, whole words keep their spaces, and nothing is left in the end", () => {
  const words = ["red", "fox", "runs"], written: string[] = [];
  const canvas = new Canvas({
    ...{ from: 1, length: 3, maskId: 3, colour: false },
    decode: (tokens) => Array.from(tokens, (t) => words[t]).join(" "),
    write: (text) => written.push(text),
    size: () => ({ columns: 9, rows: 10 }),
  });
  canvas.draw(Int32Array.of(0, 3, 3, 3), [], "0 of 3 tokens");
  canvas.draw(Int32Array.of(0, 0, 3, 2), [{ position: 1, token: 0, confidence: 1 }], "2 of 3");
  canvas.clear();
  assertEquals(written, ["\r\x1b[J· · ·\n0 of 3 to\n", "\x1b[2A\r\x1b[Jred ·\nruns\n2 of 3\n", "\x1b[3A\r\x1b[J"]);
});

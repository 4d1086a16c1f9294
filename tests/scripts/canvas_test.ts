/** A text that is unmasked in a terminal. */
import { assertEquals } from "@std/assert";
import { Canvas, canvasLines, linesInSight } from "../../scripts/canvas.ts";

const plain = { width: 12, colour: false };
const cells = (...texts: (string | undefined)[]) => texts.map((text) => ({ text }));

Deno.test("lines are as wide as the terminal at most, words stay whole where they fit, masks are points", () => {
  assertEquals(canvasLines(cells("The", " sky", " is", " blue", undefined, undefined, "."), plain), [
    "The sky is",
    "blue··.",
  ]);
  assertEquals(canvasLines(cells("abcdefghijklmnop", " q"), plain), ["abcdefghijkl", "mnop q"]);
  assertEquals(canvasLines(cells("a word", " un", "mask", "ing", " it"), plain), ["a word", "unmasking it"]);
  assertEquals(canvasLines(Array(30).fill({}), plain), ["·".repeat(12), "·".repeat(12), "·".repeat(6)]);
  assertEquals(canvasLines(cells("twelve chars", " and", " more"), plain), ["twelve chars", "and more"]);
  assertEquals(canvasLines([], plain), []);
});

Deno.test("line breaks and indentation are the text's, what moves the cursor is left out, wide characters take two columns", () => {
  assertEquals(canvasLines(cells("a", "\n\nb", "\x1b[2J", "\r\u202e"), plain), ["a", "", "b[2J"]);
  assertEquals(canvasLines(cells("if a:", "\n\tgo", "\n"), plain), ["if a:", " go"]);
  assertEquals(canvasLines(cells("\u65e5\u672c\u8a9e\u306e\u6587\u7ae0"), { ...plain, width: 5 }), [
    "\u65e5\u672c",
    "\u8a9e\u306e",
    "\u6587\u7ae0",
  ]);
  assertEquals(canvasLines(cells("e\u0301e\u0301e\u0301"), { ...plain, width: 3 }), ["e\u0301e\u0301e\u0301"]);
});

Deno.test("colours by confidence take no room, and there are none without colour", () => {
  const sure = [{ text: "a", confidence: 0.95 }, { text: " b", confidence: 0.6 }, { text: "c", confidence: 0.5 }];
  const rest = [{ text: " c", confidence: 0.1 }, {}, { end: true }, { text: "d" }];
  assertEquals(canvasLines([...sure, ...rest], { width: 9, colour: true }), [
    "\x1b[32ma \x1b[0m\x1b[33mbc \x1b[0m\x1b[31mc\x1b[0m\x1b[2m·∎\x1b[0md",
  ]);
  assertEquals(canvasLines([...sure, ...rest], { width: 9, colour: false }), ["a bc c·∎d"]);
});

Deno.test("of a text higher than the terminal, what is being written is in sight", () => {
  assertEquals(linesInSight(["a", "b", "··", "··"], 9), ["a", "b", "··", "··"]);
  assertEquals(linesInSight(["a", "b·", "··", "··"], 2), ["b·", "··"]);
  assertEquals(linesInSight(["a", "\x1b[2m··\x1b[0m", "··"], 2), ["a", "\x1b[2m··\x1b[0m"]);
  assertEquals(linesInSight(["··", "··", "a"], 2), ["··", "a"]);
  assertEquals(linesInSight(["··", "··", "··"], 2), ["··", "··"]);
});

/** A canvas over words or pieces of them, and what it writes. */
function canvasOf(decode: (tokens: ArrayLike<number>) => string, length = 3) {
  const written: string[] = [];
  const canvas = new Canvas({
    ...{ from: 1, length, maskId: 3, ends: [4], colour: false, decode },
    write: (text) => written.push(text),
    size: () => ({ columns: 9, rows: 10 }),
  });
  return { canvas, written };
}

Deno.test("a state takes the place of the one before, whole words keep their spaces, and nothing is left in the end", () => {
  const words = ["red", "fox", "runs"];
  const { canvas, written } = canvasOf((tokens) => Array.from(tokens, (t) => words[t]).join(" "));
  canvas.draw(Int32Array.of(0, 3, 3, 3), [], "0 of 3 tokens");
  canvas.draw(Int32Array.of(0, 0, 3, 2), [{ position: 1, token: 0, confidence: 1 }], "2 of 3");
  canvas.draw(Int32Array.of(0, 0, 4, 4), [], "3 of 3");
  canvas.clear();
  assertEquals(written, [
    "\r\x1b[J· · ·\n0 of 3 to\n",
    "\x1b[2A\r\x1b[Jred ·\nruns\n2 of 3\n",
    "\x1b[3A\r\x1b[Jred ∎ ∎\n3 of 3\n",
    "\x1b[2A\r\x1b[J",
  ]);
});

Deno.test("a character of several tokens is shown once they are all there", () => {
  const bytes = [[0xc3], [0xa9], [0x61], [], []];
  const text = (tokens: ArrayLike<number>) =>
    new TextDecoder().decode(Uint8Array.from(Array.from(tokens).flatMap((t) => bytes[t])));
  const { canvas, written } = canvasOf(text);
  canvas.draw(Int32Array.of(0, 0, 3, 2), [], "half");
  canvas.draw(Int32Array.of(0, 0, 1, 2), [], "both");
  assertEquals(written, ["\r\x1b[J\ufffd·a\nhalf\n", "\x1b[2A\r\x1b[J\u00e9a\nboth\n"]);
});

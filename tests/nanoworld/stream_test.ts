import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { isSpared } from "../../lib/nanoworld/spared.ts";
import { worldText } from "../../lib/nanoworld/stream.ts";
import { WORDS } from "../../lib/nanoworld/vocabulary.ts";
import { createWorld } from "../../lib/nanoworld/world.ts";

const world = createWorld({ seed: 1 });

Deno.test("the world's text is that of its seed and step, with answers marked, and validation is of other statements", () => {
  const text = worldText(world, { batch: 8 });
  assertEquals(text.draw(1, 5), text.draw(1, 5));
  assertNotEquals(text.draw(1, 5), text.draw(1, 6));
  assertNotEquals(text.draw(1, 5), text.draw(2, 5));
  const statementsOf = (windows: readonly Int32Array[]) =>
    windows.flatMap((w) => world.decode(w).replaceAll("<eos>", "").split(" . ").map((s) => s.trim())).filter(Boolean);
  const { windows, answers } = text.draw(1, 5);
  windows.forEach((tokens, w) => {
    assertEquals([tokens.length, answers[w].length], [64, 64]);
    assert(answers[w].includes(1) && answers[w].includes(0));
    assert(tokens.every((t, p) => t !== world.eosId || answers[w][p] === 0));
  });
  const taught = new Set(Array.from({ length: 40 }, (_, step) => statementsOf(text.draw(1, step).windows)).flat());
  const held = statementsOf(worldText(world, { batch: 32, split: "validation" }).draw(1, 0).windows);
  assertEquals(held.filter((statement) => taught.has(statement)), []);
});

Deno.test("sparing: half of the persons stay visible, whole statements, and the text is the same", () => {
  const plain = worldText(world, { batch: 64 }).draw(3, 1), sparing = worldText(world, { batch: 64, sparing: true });
  const { windows, answers, visible } = sparing.draw(3, 1);
  assertEquals([windows, answers, sparing.name], [plain.windows, plain.answers, "nanoworld-train-sparing"]);
  const about = statementsOf(windows, visible!);
  const kept = about.filter(({ marks }) => marks.every((mark) => mark === 1));
  assert(about.every(({ marks }) => marks.every((mark) => mark === marks[0])));
  assert(kept.length > 10 && kept.every(({ tokens }) => isSpared(tokens)), `${kept.length}`);
  let spared = 0;
  const names = Array.from({ length: 64 * 64 }, (_, i) => [WORDS.first.base + i % 64, WORDS.last.base + (i >> 6)]);
  for (const name of names) if (isSpared(name)) spared++;
  assert(Math.abs(spared / names.length - 0.5) < 0.03, `${spared}`);
});

function statementsOf(windows: readonly Int32Array[], visible: readonly Uint8Array[]) {
  const end = world.encode(".")[0];
  return windows.flatMap((tokens, w) => {
    const found: { tokens: Int32Array; marks: Uint8Array }[] = [];
    for (let from = 0, at = 0; at < tokens.length; at++) {
      if (tokens[at] !== end) continue;
      const own = tokens.slice(from, at + 1);
      found.push({ tokens: own, marks: visible[w].slice(from, at + 1) });
      from = at + 1;
    }
    return found;
  });
}

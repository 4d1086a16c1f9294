import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { worldText } from "../../lib/nanoworld/stream.ts";
import { createWorld } from "../../lib/nanoworld/world.ts";

Deno.test("the world's text is that of its seed and step, with answers marked, and validation is of other statements", () => {
  const world = createWorld({ seed: 1 });
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

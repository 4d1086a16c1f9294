import { assertEquals, assertThrows } from "@std/assert";
import { corpusText } from "../../lib/diffusion/text.ts";

const corpus = {
  windows: [0, 1, 2].map((i) => Int32Array.of(i, i)),
  answers: [0, 1, 2].map((i) => Uint8Array.of(i, 1)),
};

Deno.test("a text draws so many windows of a corpus for a step, none twice, its answers with them", async () => {
  for (const batch of [1, 2, 3]) {
    const text = corpusText(corpus, { name: "three", batch });
    assertEquals([text.name, text.batch, text.length], ["3 windows of three", batch, 2]);
    const seen = new Set<string>();
    for (let step = 0; step < 40; step++) {
      const { windows, answers } = await text.draw(1, step), chosen = windows.map(([i]) => i);
      assertEquals([windows.length, new Set(chosen).size], [batch, batch]);
      assertEquals(answers!.map(([i]) => i), chosen);
      chosen.forEach((i) => seen.add(String(i)));
      assertEquals((await text.draw(1, step)).windows, windows);
    }
    assertEquals(seen.size, 3);
  }
  for (const batch of [0, 4, 1.5]) {
    assertThrows(() => corpusText(corpus, { name: "three", batch }), RangeError, `Cannot draw ${batch} windows`);
  }
});

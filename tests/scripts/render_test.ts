import { assert, assertEquals, assertThrows } from "@std/assert";
import { figure } from "quant-dllm";
import { findBrowser, renderPng, sizeOfSvg } from "../../scripts/render.ts";

Deno.test("renderPng: a figure in twice its size where there is a browser, else a word why not", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const svg = await figure({ data: [{ type: "bar", x: ["a"], y: [1] }], layout: { width: 300, height: 200 } })
      .toSvg();
    const [from, to] = [`${folder}/a.svg`, `${folder}/a.png`];
    await Deno.writeTextFile(from, svg);
    const said: string[] = [];
    const made = await renderPng(from, to, { patience: 100, onProblem: (message) => said.push(message) });
    if (await findBrowser()) {
      assertEquals([made, said], [true, []]);
      const view = new DataView((await Deno.readFile(to)).buffer);
      const { width, height } = sizeOfSvg(svg);
      assertEquals([view.getUint32(16), view.getUint32(20)], [2 * width, 2 * height]);
    } else {
      assertEquals([made, said.length], [false, 1]);
      assert(said[0].includes("install"), said[0]);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a picture without a size is refused", () => {
  assertEquals(sizeOfSvg('<svg xmlns="x" width="30" height="20.5">'), { width: 30, height: 20.5 });
  assertThrows(() => sizeOfSvg('<svg viewBox="0 0 1 1"></svg>'), SyntaxError, "Cannot size a picture");
});

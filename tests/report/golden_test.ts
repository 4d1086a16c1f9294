/**
 * Golden files: each figure's specification, as Plotly gets it and as Vega-Lite does, so that a changed figure is seen.
 * After a wanted change: UPDATE_GOLDEN=1 deno test --no-check -A tests/report/golden_test.ts, then read the difference
 * and look at the figure.
 */
import { assertEquals } from "@std/assert";
import { vegaLite } from "../../lib/report/vega/translate.ts";
import { gallery } from "./gallery.ts";

const folder = new URL("./golden/", import.meta.url);
const update = Deno.env.get("UPDATE_GOLDEN") === "1";
const figures = Object.entries(gallery());
const fileOf = (name: string) => `${name.replaceAll(" ", "_")}.json`;

/** JSON with a line for each innermost list or object: one number more is one line of the difference. */
function readable(value: unknown): string {
  return JSON.stringify(value, null, 1).replaceAll(/[[{][^[\]{}]*[\]}]/g, (part) => part.replaceAll(/\s+/g, " ")) +
    "\n";
}

for (const [name, made] of figures) {
  Deno.test(`the figure "${name}" is that of its golden file`, async () => {
    const now = JSON.parse(
      JSON.stringify({ plotly: { data: made.data, layout: made.layout }, vegaLite: vegaLite(made) }),
    );
    const path = new URL(fileOf(name), folder);
    if (update) await Deno.writeTextFile(path, readable(now));
    assertEquals(now, JSON.parse(await Deno.readTextFile(path)));
  });
}

Deno.test("there is no golden file without a figure", async () => {
  const files = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
  assertEquals(files, figures.map(([name]) => fileOf(name)).sort());
});

/** A slice of what `deno task fuzz` does. */
import { assert, assertEquals } from "@std/assert";
import { inFolder } from "../model/tiny.ts";
import { kinds, prepare, runCase } from "./cases.ts";

Deno.test("files of every kind are right as they are, and damaged ones end in a right result or a clear error", () =>
  inFolder(async (folder) => {
    await prepare(`${folder}/whole`);
    for (const kind of kinds) {
      for (let seed = 0; seed < 6; seed++) {
        const { outcome, message } = await runCase(kind, seed, { whole: `${folder}/whole`, folder: `${folder}/cases` });
        if (seed === 0) assertEquals(outcome, "right", `${kind}: ${message}`);
        else assert(outcome !== "unclear", `${kind} ${seed}: ${message}`);
      }
    }
  }));

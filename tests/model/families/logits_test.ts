import { assert, assertEquals } from "@std/assert";
import { loadModel } from "../../../lib/checkpoint/open.ts";
import {
  arraysOf,
  checkpointTensors,
  familyConfigs,
  inFolder,
  randomTokens,
  tinyModel,
  tinyWeights,
  writeCheckpoint,
} from "../tiny.ts";
import { referencePass } from "../reference.ts";
import { LOGITS_TINY } from "../../tolerances.ts";

const time = 11;
const batch = 3;

for (const [name, config] of Object.entries(familyConfigs)) {
  Deno.test(`${name}: logits are those of the formulas, position by position`, async () => {
    await using model = await tinyModel({ config });
    const tokens = randomTokens(batch * time, 5);
    const { data, shape } = await model.logits(tokens, { batch });
    assertEquals(shape, [batch * time, 23]);
    let off = 0;
    for (let b = 0; b < batch; b++) {
      const sequence = tokens.subarray(b * time, (b + 1) * time);
      referencePass(model.architecture, arraysOf(model), sequence).logits.forEach((row, p) =>
        row.forEach((y, v) => off = Math.max(off, Math.abs(y - data[((b * time) + p) * 23 + v])))
      );
    }
    assert(off <= LOGITS_TINY, `off by ${off}`);
    // Chosen rows are those of all rows.
    const rows = Int32Array.of(2 * time, time - 1, time + 4);
    const some = await model.logits(tokens, { batch, rows });
    rows.forEach((row, i) => assertEquals(some.data.slice(i * 23, (i + 1) * 23), data.slice(row * 23, (row + 1) * 23)));
  });

  Deno.test(`${name}: streamed weights answer as held ones`, async () => {
    await inFolder(async (folder) => {
      await writeCheckpoint(folder, config, checkpointTensors(config, tinyWeights(config), "BF16"));
      await using held = await loadModel(folder, { device: "cpu", weights: "held" });
      await using streamed = await loadModel(folder, { device: "cpu", weights: "streamed" });
      const tokens = randomTokens(time, 6);
      assertEquals(await streamed.logits(tokens), await held.logits(tokens));
    });
  });
}

/** NanoWorld's generated tasks, and files of examples. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { nanoRows } from "../../lib/harness/nano_rows.ts";
import { localRows } from "../../lib/harness/rows.ts";
import { readShotFiles } from "../../lib/harness/shot_file.ts";
import { nanoDefinitions, nanoRowsOf } from "../../lib/harness/tasks/nano_tasks.ts";
import { inTempFolder } from "./model.ts";

const lines = [
  "the pet of doren brinwick is horse . 2 7 9 + 6 4 6 = 0 9 2 5 . set z 5 + 8 ; show z + 2 : 1 5 . ( true or not false ) xor false = true . <eos>",
  "8 1 - 8 0 = 0 1 . 8 * 4 + 1 4 = 0 4 6 . 2 7 9 + 6 4 6 = 0 9 2 5 . set x 7 * 6 ; show y + 7 : 4 9 .",
];

Deno.test("statements of a family are found in text, each once", () => {
  assertEquals(nanoRowsOf("sums", lines), [
    { prompt: "2 7 9 + 6 4 6 =", answer: "0 9 2 5" },
    { prompt: "8 1 - 8 0 =", answer: "0 1" },
  ]);
  assertEquals(nanoRowsOf("logic", lines), [{ prompt: "( true or not false ) xor false =", answer: "true" }]);
  assertEquals(nanoRowsOf("programs", lines), [{ prompt: "set z 5 + 8 ; show z + 2 :", answer: "1 5" }]);
});

Deno.test("the kit's own text holds rows for each task, whose answers are right", async () => {
  const read = nanoRows(localRows("nowhere"));
  for (const { id, data, split, prompt, target } of nanoDefinitions) {
    const { docs } = await read(data, split);
    assert(docs.length >= 60, `${id}: ${docs.length}`);
    if (id === "nano_logic") continue;
    for (const doc of docs) {
      const digits = (text: string) => text.replace(/(?<=\d) (?=\d)/g, "");
      const [, first = "", second] = /(?:^set . (.*) ; show . )?(.*) [=:]$/.exec(digits(prompt(doc)))!;
      const value = (text: string) => {
        const [a, op, b] = text.trim().split(" ");
        return op === "+" ? Number(a) + Number(b) : op === "-" ? Number(a) - Number(b) : Number(a) * Number(b);
      };
      const expected = first ? value(`${value(first)} ${second}`) : value(second);
      assertEquals(Number(digits(target(doc))), expected, prompt(doc));
    }
  }
  await assertRejects(
    () => read({ repo: "other/set", config: "a", folder: "b" }, "test"),
    RangeError,
    "nowhere/b/test",
  );
});

Deno.test("a program is the model's own in Python, whose result must be the answer", () => {
  const code = nanoDefinitions.find(({ id }) => id === "nano_code")!;
  const doc = { prompt: "set z 5 * 8 ; show z - 2 :", answer: "3 8" };
  assertEquals(code.program!("3 8", doc), 'z = 5 * 8\nassert z - 2 == int("3 8".replace(" ", ""))\n');
});

Deno.test("a file of examples is read, and what is missing in one is named", () =>
  inTempFolder(async (folder) => {
    const read = async (text: string) => {
      await Deno.writeTextFile(`${folder}/shots.json`, text);
      return await readShotFiles(`${folder}/shots.json`);
    };
    const file = { own: { description: "d", shots: [{ prompt: "p", target: "t" }] } };
    assertEquals(await read(JSON.stringify(file)), file);
    await assertRejects(() => read("{"), SyntaxError, "Cannot read");
    await assertRejects(() => read("[]"), SyntaxError, "it is no object");
    await assertRejects(() => read('{"own": {"shots": [{"prompt": "p"}]}}'), SyntaxError, "the shots of own");
    await assertRejects(() => read('{"own": {"description": 3, "shots": []}}'), SyntaxError, "the description of own");
  }));

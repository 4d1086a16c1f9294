/** Rows from folders and from the Hub: .jsonl and Parquet, with what is missing named. */
import { assertEquals, assertRejects } from "@std/assert";
import { openHubFile } from "../../lib/checkpoint/hub/hub.ts";
import { fakeHub } from "../model/fake_hub.ts";
import { hubRows, localRows } from "../../lib/harness/rows.ts";

const data = { repo: "allenai/ai2_arc", config: "ARC-Easy", folder: "ai2_arc/ARC-Easy" };
// Two invented rows as the Hub lays them out: nested lists, 64-bit integers.
const parquet = new URL("rows.parquet", import.meta.url);
const rows = [
  {
    id: "r1",
    question: "Which stone floats?",
    choices: { text: ["pumice", "granite", "marble"], label: ["A", "B", "C"] },
    answerKey: "A",
    number: 7,
  },
  {
    id: "r2",
    question: "What do bees carry?",
    choices: { text: ["pollen", "coal", "ice", "sand"], label: ["1", "2", "3", "4"] },
    answerKey: "3",
    number: -3,
  },
];

async function inFolder(run: (folder: string, place: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/ai2_arc/ARC-Easy`, { recursive: true });
    await run(folder, `${folder}/ai2_arc/ARC-Easy`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("lines of JSON, a Parquet file, and the shards of one", () =>
  inFolder(async (folder, place) => {
    await Deno.writeTextFile(`${place}/dev.jsonl`, rows.map((row) => JSON.stringify(row) + "\n\n").join(""));
    await Deno.copyFile(parquet, `${place}/test.parquet`);
    await Deno.copyFile(parquet, `${place}/train-00000-of-00002.parquet`);
    await Deno.copyFile(parquet, `${place}/train-00001-of-00002.parquet`);
    const read = localRows(folder);
    assertEquals((await read(data, "dev")).docs, rows);
    assertEquals((await read(data, "test")).docs, rows);
    assertEquals((await read(data, "train")).docs, [...rows, ...rows]);
    await Deno.remove(`${place}/train-00001-of-00002.parquet`);
    await assertRejects(() => read(data, "train"), RangeError, "it has 1 of 2 files");
  }));

Deno.test("what is not there, and what is damaged, is named", () =>
  inFolder(async (folder, place) => {
    const read = localRows(folder);
    await assertRejects(() => read(data, "test"), RangeError, "ai2_arc/ARC-Easy/test.jsonl or .parquet");
    await Deno.writeTextFile(`${place}/test.jsonl`, '{"a": 1}\n[2]\n');
    await assertRejects(() => read(data, "test"), SyntaxError, "line 2: wanted a JSON object");
    await Deno.writeTextFile(`${place}/dev.parquet`, "PAR1 no");
    await assertRejects(() => read(data, "dev"), SyntaxError, "Cannot read");
  }));

Deno.test("from the Hub: its Parquet branch or the commit that is named, which the result then names", async () => {
  const commit = "0123456789abcdef0123456789abcdef01234567";
  const asked: unknown[] = [];
  const folder = await Deno.makeTempDir();
  try {
    const dir = `${folder}/datasets--x/snapshots/${commit}/ARC-Easy/test`;
    await Deno.mkdir(dir, { recursive: true });
    await Deno.copyFile(parquet, `${dir}/0000.parquet`);
    const open = (id: string, path: string, options: { type?: string; revision?: string } = {}) => {
      asked.push([id, path, options.type, options.revision]);
      return Promise.resolve(`${folder}/datasets--x/snapshots/${commit}/${path}`);
    };
    assertEquals(await hubRows({ open })(data, "test"), { docs: rows, revision: commit });
    await hubRows({ open, revisions: { "allenai/ai2_arc": commit } })(data, "test");
    const path = "ARC-Easy/test/0000.parquet";
    assertEquals(asked, [
      ["allenai/ai2_arc", path, "dataset", "refs/convert/parquet"],
      ["allenai/ai2_arc", path, "dataset", commit],
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the Parquet branch is resolved to its commit, and its file comes through the cache", async () => {
  const commit = "89abcdef0123456789abcdef0123456789abcdef";
  const files = { "ARC-Easy/test/0000.parquet": await Deno.readFile(parquet) };
  const repo = { commits: { [commit]: files }, refs: { "refs/convert/parquet": commit } };
  await using hub = fakeHub({ "datasets/allenai/ai2_arc": repo });
  const cacheDir = await Deno.makeTempDir();
  try {
    const open: typeof openHubFile = (id, path, options) =>
      openHubFile(id, path, { ...options, endpoint: hub.endpoint, cacheDir });
    assertEquals(await hubRows({ open })(data, "test"), { docs: rows, revision: commit });
    await assertRejects(
      () => hubRows({ open })(data, "none"),
      RangeError,
      'it has no file "ARC-Easy/none/0000.parquet"',
    );
  } finally {
    await Deno.remove(cacheDir, { recursive: true });
  }
});

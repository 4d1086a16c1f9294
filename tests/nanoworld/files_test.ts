import { assert, assertEquals } from "@std/assert";
import { Tokenizer } from "@huggingface/tokenizers";
import { SEQUENCES, worldFiles } from "../../lib/nanoworld/files.ts";
import { splitOf } from "../../lib/nanoworld/split.ts";
import { MASK_ID, UNKNOWN_ID, VOCABULARY } from "../../lib/nanoworld/vocabulary.ts";
import { createWorld, SEQUENCE_LENGTH, WORLD_SEED } from "../../lib/nanoworld/world.ts";

const world = createWorld({ seed: WORLD_SEED });
const files = worldFiles(world);
const data = new URL("../../data/", import.meta.url);

Deno.test("the shipped files are the ones the generator writes", async () => {
  for (const [path, text] of files) assertEquals(await Deno.readTextFile(new URL(path, data)), text, path);
});

Deno.test("the tokenizer files load, and text survives the round trip", () => {
  const read = (name: string) => JSON.parse(files.get(`nano-llada/${name}`)!);
  const tokenizer = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
  assert(VOCABULARY.length < 1024);
  assertEquals(
    tokenizer.encode(VOCABULARY.join(" "), { add_special_tokens: false }).ids,
    VOCABULARY.map((_, id) => id),
  );
  assertEquals(tokenizer.token_to_id("<mask>"), MASK_ID);
  assertEquals(tokenizer.encode("tin <mask> or zeppelin").ids.slice(1, 4), [
    MASK_ID,
    world.encode("or")[0],
    UNKNOWN_ID,
  ]);
  for (const line of files.get("nanoworld/validation.jsonl")!.trim().split("\n").slice(0, 100)) {
    const { text } = JSON.parse(line);
    const { ids } = tokenizer.encode(text);
    assertEquals(ids, [...world.encode(text)]);
    assertEquals(tokenizer.decode(ids, { skip_special_tokens: false, clean_up_tokenization_spaces: false }), text);
  }
});

Deno.test("calibration and validation texts are whole sequences", () => {
  for (const [split, count] of Object.entries(SEQUENCES)) {
    const lines = files.get(`nanoworld/${split}.jsonl`)!.trim().split("\n");
    assertEquals(lines.length, count);
    assertEquals(new Set(lines).size, count);
    for (const line of lines) assertEquals(world.encode(JSON.parse(line).text).length, SEQUENCE_LENGTH);
  }
});

Deno.test("splits follow the documented shares of the hash", () => {
  const at = (u: number, scale?: number) => splitOf(u * 2 ** 32, scale);
  assertEquals([0, 0.0999, 0.1001, 0.1399, 0.1401, 0.1799, 0.1801, 0.9999].map((u) => at(u)), [
    "test",
    "test",
    "validation",
    "validation",
    "calibration",
    "calibration",
    "train",
    "train",
  ]);
  assertEquals([at(0.1999, 2), at(0.3599, 2), at(0.3601, 2)], ["test", "calibration", "train"]);
});

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Draft, MAX_STATEMENT } from "../../lib/nanoworld/draft.ts";
import { hashTokens, type Split, splitOf, SPLITS } from "../../lib/nanoworld/split.ts";
import { decode, EOS_ID, WORDS } from "../../lib/nanoworld/vocabulary.ts";
import { createWorld, SEQUENCE_LENGTH } from "../../lib/nanoworld/world.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { expectedAnswer, tableOfEntries } from "./oracle.ts";

const world = createWorld({ seed: 7 });
const entries = [...tableOfEntries(world)];

Deno.test("every statement belongs to one split, whoever draws it", () => {
  const known = new Map<string, Split>(entries.map(({ text, split }) => [text, split]));
  assertEquals(known.size, entries.length);
  for (const split of SPLITS) {
    const random = rng(1, "disjoint", split);
    for (let i = 0; i < 12_000; i++) {
      const text = decode(world.statement(random, split).tokens);
      assertEquals(known.get(text) ?? split, split, text);
      known.set(text, split);
    }
  }
});

Deno.test("every table entry has a phrasing in training, and the shares are as documented", () => {
  for (const family of world.families) {
    if (family.kind !== "closed") continue;
    const counts = { train: 0, calibration: 0, validation: 0, test: 0 };
    for (let key = 0; key < family.keys; key++) {
      let taught = false;
      for (let phrasing = 0; phrasing < family.phrasings; phrasing++) {
        const split = world.splitOfEntry(family.name, key, phrasing);
        counts[split]++;
        taught ||= split === "train";
      }
      assert(taught, `${family.name} ${key} is never taught`);
    }
    const n = family.keys * family.phrasings;
    const near = (count: number, share: number) => Math.abs(count / n - share) < 5 * Math.sqrt(share * (1 - share) / n);
    assert(near(counts.train, 0.82) && near(counts.test, 0.1), `${family.name}: ${JSON.stringify(counts)} of ${n}`);
    assert(
      near(counts.calibration, 0.04) && near(counts.validation, 0.04),
      `${family.name}: ${JSON.stringify(counts)} of ${n}`,
    );
  }
});

Deno.test("shares of computed statements are as documented", () => {
  const random = rng(1, "shares");
  const n = 20_000;
  const counts = { train: 0, calibration: 0, validation: 0, test: 0 };
  const draft = new Draft();
  const shift = world.families.find((family) => family.name === "shift")!;
  if (shift.kind !== "open") throw new TypeError("shift is computed");
  for (let i = 0; i < n; i++) {
    draft.clear();
    shift.write(draft, random);
    counts[splitOf(hashTokens(draft.tokens, draft.length, world.seed))]++;
  }
  assert(Math.abs(counts.test / n - 0.1) < 0.01 && Math.abs(counts.train / n - 0.82) < 0.015, JSON.stringify(counts));
});

Deno.test("answers are right, by an evaluation of the text", () => {
  for (const family of world.families) {
    const random = rng(2, family.name);
    for (let i = 0; i < 400; i++) {
      const { tokens, answers } = world.statement(random, "train", family.name);
      const expected = expectedAnswer(family.name, decode(tokens));
      if (expected === undefined) break;
      assertEquals(decode(tokens.filter((_, j) => answers[j] === 1)), expected, decode(tokens));
    }
  }
});

Deno.test("phrasings of a fact and the profiles agree", () => {
  const kinds = [WORDS.home, WORDS.craft, WORDS.drink, WORDS.pet];
  const known = new Map<string, string>();
  for (const { family, text, answer } of entries) {
    if (family !== "fact" && family !== "profile") continue;
    const name = decode(world.encode(text).filter((id) => inside(id, WORDS.first) || inside(id, WORDS.last)));
    for (const value of answer) {
      const key = `${name}: ${kinds.findIndex((kind) => inside(world.encode(value)[0], kind))}`;
      assertEquals(known.get(key) ?? value, value, text);
      known.set(key, value);
    }
  }
  assertEquals(known.size, 4 * world.entities);
});

Deno.test("the order of things has no cycle", () => {
  const heavier = new Map<string, Set<string>>();
  for (const { family, text } of entries) {
    if (family !== "order") continue;
    const w = text.split(" ");
    const [left, right] = [w.slice(0, 2).join(" "), w.slice(3, 5).join(" ")];
    const leftHeavier = (w[7] === w[1]) === (w[6] === "heavier");
    const [a, b] = leftHeavier ? [left, right] : [right, left];
    if (!heavier.has(a)) heavier.set(a, new Set());
    heavier.get(a)!.add(b);
  }
  const state = new Map<string, "open" | "done">();
  const visit = (thing: string) => {
    assert(state.get(thing) !== "open", `cycle through ${thing}`);
    if (state.get(thing) === "done") return;
    state.set(thing, "open");
    heavier.get(thing)?.forEach(visit);
    state.set(thing, "done");
  };
  [...heavier.keys()].forEach(visit);
  assert(state.size > 120);
});

Deno.test("a sequence is whole statements and a few end tokens, and fill writes the same", () => {
  for (let i = 0; i < 300; i++) {
    const { tokens, answers, starts, families } = world.sequence(rng(5, i), "validation", SEQUENCE_LENGTH);
    const filled = new Int32Array(SEQUENCE_LENGTH + 2);
    const flags = new Uint8Array(SEQUENCE_LENGTH + 2);
    world.fill(rng(5, i), "validation", filled, flags, 1, SEQUENCE_LENGTH);
    assertEquals(filled.subarray(1, SEQUENCE_LENGTH + 1), tokens);
    assertEquals(flags.subarray(1, SEQUENCE_LENGTH + 1), answers);
    assertEquals([filled[0], filled.at(-1)], [0, 0]);

    const end = tokens.indexOf(EOS_ID) < 0 ? SEQUENCE_LENGTH : tokens.indexOf(EOS_ID);
    assert(SEQUENCE_LENGTH - end <= 5);
    assert(tokens.subarray(end).every((id) => id === EOS_ID));
    assertEquals(starts.length, families.length);
    assertEquals(starts[0], 0);
    for (let s = 0; s < starts.length; s++) {
      const statement = tokens.subarray(starts[s], starts[s + 1] ?? end);
      assertEquals(decode([statement.at(-1)!]), ".");
      assertEquals(statement.indexOf(world.encode(".")[0]), statement.length - 1);
      assert(answers.subarray(starts[s], starts[s] + statement.length).includes(1));
    }
  }
});

Deno.test("lengths of families are as declared", () => {
  const draft = new Draft();
  for (const family of world.families) {
    const random = rng(6, family.name);
    let [least, most] = [MAX_STATEMENT, 0];
    for (let i = 0; i < 3000; i++) {
      world.draw(random, "train", draft, family.name);
      least = Math.min(least, draft.length);
      most = Math.max(most, draft.length);
    }
    assertEquals([least, most], [...family.tokens], family.name);
  }
});

Deno.test("the same seed makes the same world, another seed another", () => {
  const text = (seed: number) => decode(createWorld({ seed }).sequence(rng(1), "train", 640).tokens);
  assertEquals(text(7), text(7));
  assert(text(7) !== text(8));
});

Deno.test("wrong calls are refused with what was wanted", () => {
  assertThrows(() => createWorld({ seed: 1, entities: 5000 }), RangeError, "5000 entities");
  assertThrows(() => world.statement(rng(1), "train", "poetry"), RangeError, '"poetry"');
  assertThrows(() => world.statement(rng(1), "dev" as "test"), RangeError, '"dev"');
  assertThrows(() => world.sequence(rng(1), "train", 3), RangeError, "3 tokens");
  assertThrows(() => world.encode("hello"), RangeError, '"hello"');
  assertThrows(() => world.decode([9999]), RangeError, "9999");
});

function inside(id: number, words: { base: number; size: number }): boolean {
  return id >= words.base && id < words.base + words.size;
}

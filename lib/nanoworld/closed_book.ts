/** Knowledge that can only be known: facts and profiles of invented persons, combinations of elements, tools, rules, and an order of things. */

import { rng } from "../tensor/rng.ts";
import { type ClosedFamily, type Draft, fillIn, template } from "./draft.ts";
import { frequent } from "./rivals.ts";
import { id, WORDS } from "./vocabulary.ts";
import type { ClassName } from "./vocabulary.ts";

const RELATIONS: readonly { readonly values: ClassName; readonly templates: readonly string[] }[] = [
  {
    values: "home",
    templates: ["<0> <1> lives in <answer> .", "the home of <0> <1> is <answer> .", "<answer> is home to <0> <1> ."],
  },
  {
    values: "craft",
    templates: ["<0> <1> works as <answer> .", "the craft of <0> <1> is <answer> .", "<answer> is work for <0> <1> ."],
  },
  {
    values: "drink",
    templates: [
      "<0> <1> drinks only <answer> .",
      "the drink of <0> <1> is <answer> .",
      "<answer> is drink for <0> <1> .",
    ],
  },
  {
    values: "pet",
    templates: ["<0> <1> keeps one <answer> .", "the pet of <0> <1> is <answer> .", "<answer> is pet to <0> <1> ."],
  },
];

/** `count` uniform integers below `n`, from the world's own stream for `name`. */
function drawn(seed: number, name: string, count: number, n: number): Uint16Array {
  const random = rng(seed, "nanoworld", name);
  return Uint16Array.from({ length: count }, () => random.int(n));
}

/** Facts and profiles of `entities` persons: four relations of 16 values each; a name is a first and a last name out of 64 x 64. */
export function people(seed: number, entities: number): ClosedFamily[] {
  const first = WORDS.first.size;
  const grid = first * WORDS.last.size;
  if (!Number.isInteger(entities) || entities < 8 || entities > grid) {
    throw new RangeError(`Cannot make ${entities} entities: wanted an integer from 8 to ${grid}`);
  }
  const names = rng(seed, "nanoworld", "names").choose(grid, entities);
  const values = drawn(seed, "facts", entities * 4, 16);
  const slots = RELATIONS.map((relation) => relation.templates.map(template));
  const name = [0, 0];
  const read = (entity: number) => {
    name[0] = WORDS.first.base + names[entity] % first;
    name[1] = WORDS.last.base + Math.floor(names[entity] / first);
  };
  const valueOf = (entity: number, relation: number) =>
    WORDS[RELATIONS[relation].values].base + values[entity * 4 + relation];

  const fact: ClosedFamily = {
    kind: "closed",
    name: "fact",
    weight: 4,
    tokens: [6, 8],
    keys: entities * 4,
    phrasings: 3,
    write(draft, key, phrasing) {
      const entity = key >> 2;
      const relation = key & 3;
      read(entity);
      draft.notes[0] = entity;
      draft.notes[1] = relation;
      draft.notes[2] = valueOf(entity, relation);
      fillIn(draft, slots[relation][phrasing], name, draft.notes[2]);
    },
    rivals(draft, random, count) {
      const [entity, relation, answer] = draft.notes;
      const namesakes = new Int32Array(16); // by value: the persons who share the first or the last name
      for (let other = 0; other < entities; other++) {
        const sameFirst = names[other] % first === names[entity] % first;
        const sameLast = Math.floor(names[other] / first) === Math.floor(names[entity] / first);
        if (sameFirst !== sameLast) namesakes[values[other * 4 + relation]]++;
      }
      return frequent(random, WORDS[RELATIONS[relation].values], answer, count, namesakes);
    },
  };

  const colon = id(":");
  const card = id("card");
  const stop = id(".");
  const profile: ClosedFamily = {
    kind: "closed",
    name: "profile",
    weight: 5,
    tokens: [8, 8],
    keys: entities,
    phrasings: 2,
    write(draft, key, phrasing) {
      read(key);
      if (phrasing === 1) draft.put(card);
      draft.put(name[0]);
      draft.put(name[1]);
      if (phrasing === 0) draft.put(colon);
      for (let i = 0; i < 4; i++) draft.answer(valueOf(key, phrasing === 0 ? i : 3 - i));
      draft.put(stop);
      draft.notes[0] = key;
      draft.notes[1] = phrasing;
    },
    rivals: noRivals,
  };
  return [fact, profile];
}

/** A table over two key classes whose cells hold one random word of a third. */
function tableFamily(
  options: {
    readonly seed: number;
    readonly name: string;
    readonly weight: number;
    readonly row: ClassName;
    readonly column: ClassName;
    readonly value: ClassName;
    readonly templates: readonly string[];
  },
): ClosedFamily {
  const { seed, name, weight, templates } = options;
  const [row, column, value] = [WORDS[options.row], WORDS[options.column], WORDS[options.value]];
  const cells = drawn(seed, name, row.size * column.size, value.size);
  const slots = templates.map(template);
  const lengths = slots.map((slot) => slot.length);
  const parts = [0, 0];
  return {
    kind: "closed",
    name,
    weight,
    tokens: [Math.min(...lengths), Math.max(...lengths)],
    keys: cells.length,
    phrasings: templates.length,
    write(draft, key, phrasing) {
      parts[0] = row.base + Math.floor(key / column.size);
      parts[1] = column.base + key % column.size;
      draft.notes[0] = value.base + cells[key];
      fillIn(draft, slots[phrasing], parts, draft.notes[0]);
    },
    rivals(draft, random, count) {
      const neighbours = new Int32Array(value.size); // by value: the cells of the same row or column
      for (let i = 0; i < row.size; i++) neighbours[cells[i * column.size + draft.key % column.size]]++;
      const start = draft.key - draft.key % column.size;
      for (let j = 0; j < column.size; j++) neighbours[cells[start + j]]++;
      return frequent(random, value, draft.notes[0], count, neighbours);
    },
  };
}

/** What two of 32 elements make: 32 x 32 cells, the order of the two matters. */
export function combination(seed: number): ClosedFamily {
  const templates = ["<0> with <1> makes <answer> .", "mix <0> into <1> for <answer> ."];
  return tableFamily({
    seed,
    name: "combination",
    weight: 2.5,
    row: "element",
    column: "element",
    value: "element",
    templates,
  });
}

/** Which of 16 tools serves a goal: 32 verbs x 32 things. */
export function goal(seed: number): ClosedFamily {
  const templates = [
    "to <0> the <1> use <answer> .",
    "<answer> helps to <0> the <1> .",
    "<0> the <1> with <answer> .",
    "who must <0> the <1> takes <answer> .",
  ];
  return tableFamily({ seed, name: "goal", weight: 2, row: "verb", column: "thing", value: "tool", templates });
}

/** What follows when somebody does something to a thing: 16 actions x 32 things, an effect and a manner each; who does it does not matter. */
export function story(seed: number): ClosedFamily {
  const { first, action, thing, effect, manner } = WORDS;
  const cells = action.size * thing.size;
  const effects = drawn(seed, "story effect", cells, effect.size);
  const manners = drawn(seed, "story manner", cells, manner.size);
  const [the, and, it, when, stop] = ["the", "and", "it", "when", "."].map(id);
  return {
    kind: "closed",
    name: "story",
    weight: 1.6,
    tokens: [9, 9],
    keys: cells,
    phrasings: 2 * first.size,
    write(draft, key, phrasing) {
      const swapped = phrasing >= first.size;
      if (swapped) draft.put(when);
      draft.put(first.base + phrasing % first.size);
      draft.put(action.base + Math.floor(key / thing.size));
      draft.put(the);
      draft.put(thing.base + key % thing.size);
      if (!swapped) draft.put(and);
      draft.put(it);
      draft.answer(effect.base + effects[key]);
      draft.answer(manner.base + manners[key]);
      draft.put(stop);
    },
    rivals(draft, random, count) {
      // Endings of the same action on other things and of other actions on the same thing: as frequent as the right one, and near to it.
      const row = Math.floor(draft.key / thing.size);
      const column = draft.key % thing.size;
      return Array.from({ length: count }, () => {
        const sameAction = random.int(2) === 0;
        const cell = sameAction
          ? row * thing.size + (column + 1 + random.int(thing.size - 1)) % thing.size
          : (row + 1 + random.int(action.size - 1)) % action.size * thing.size + column;
        return [effect.base + effects[cell], manner.base + manners[cell]];
      });
    },
  };
}

/** The least distance in rank of two things that are compared. */
const LEAST_GAP = 8;

/** Which of two things is heavier: a random order of 128 things, each an adjective and a noun. */
export function order(seed: number): ClosedFamily {
  const { adjective, thing } = WORDS;
  const count = adjective.size * thing.size;
  const rank = rng(seed, "nanoworld", "order").choose(count, count);
  const pairs: number[] = [];
  for (let a = 0; a < count; a++) {
    for (let b = a + 1; b < count; b++) {
      if (a % thing.size !== b % thing.size && Math.abs(rank[a] - rank[b]) >= LEAST_GAP) pairs.push(a * count + b);
    }
  }
  const [or, colon, heavier, lighter, stop] = ["or", ":", "heavier", "lighter", "."].map(id);
  const name = (draft: Draft, item: number) => {
    draft.put(adjective.base + Math.floor(item / thing.size));
    draft.put(thing.base + item % thing.size);
  };
  return {
    kind: "closed",
    name: "order",
    weight: 1.8,
    tokens: [9, 9],
    keys: pairs.length,
    phrasings: 4,
    write(draft, key, phrasing) {
      const low = Math.floor(pairs[key] / count);
      const high = pairs[key] % count;
      const left = phrasing & 1 ? high : low;
      const right = phrasing & 1 ? low : high;
      const wantsHeavier = phrasing < 2;
      name(draft, left);
      draft.put(or);
      name(draft, right);
      draft.put(colon);
      draft.put(wantsHeavier ? heavier : lighter);
      const leftWins = (rank[left] > rank[right]) === wantsHeavier;
      draft.answer(thing.base + (leftWins ? left : right) % thing.size);
      draft.put(stop);
      draft.notes[0] = thing.base + (leftWins ? right : left) % thing.size;
      draft.notes[1] = Math.abs(rank[left] - rank[right]);
    },
    rivals(draft, _random, wanted) {
      if (wanted !== 1) throw new RangeError(`Cannot make ${wanted} rivals of two things: wanted 1`);
      return [[draft.notes[0]]];
    },
  };
}

/** For families that no task asks about. */
function noRivals(): never {
  throw new RangeError("Cannot make wrong answers: this family is for training only");
}

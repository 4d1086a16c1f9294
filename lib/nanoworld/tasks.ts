/** Seven multiple-choice tasks about the world, in the shape of the seven of the paper. Questions are test statements, shots are training statements. */

import { type Rng, rng } from "../tensor/rng.ts";
import { Draft } from "./draft.ts";
import { decode } from "./vocabulary.ts";
import { SEQUENCE_LENGTH, type World } from "./world.ts";

/** A question: the text to be scored is `context`, a choice and `suffix`, with one space between; `answer` counts from 0. */
export interface TaskItem {
  readonly id: string;
  readonly task: string;
  readonly family: string;
  readonly context: string;
  readonly choices: readonly string[];
  readonly answer: number;
  readonly suffix?: string;
}

export interface TaskSpec {
  readonly name: string;
  /** What it mirrors. */
  readonly mirrors: string;
  /** Training statements of the same family before the question; fewer where they would not fit. */
  readonly shots: number;
  /** Items of each family, with the number of choices. */
  readonly parts: readonly { readonly family: string; readonly items: number; readonly choices: 2 | 4 }[];
  /** Which statements make questions; all by default. */
  readonly accept?: (draft: Draft) => boolean;
}

const part = (family: string, items: number, choices: 2 | 4) => ({ family, items, choices });

export const TASKS: readonly TaskSpec[] = [
  { name: "nano_mmlu", mirrors: "MMLU", shots: 5, parts: [part("fact", 400, 4)] },
  {
    name: "nano_winogrande",
    mirrors: "WinoGrande",
    shots: 3,
    parts: [part("order", 400, 2)],
    // WinoGrande is filtered for questions that are hard to guess: here, things whose ranks lie near each other.
    accept: (draft) => draft.notes[1] <= 32,
  },
  { name: "nano_piqa", mirrors: "PIQA", shots: 3, parts: [part("goal", 400, 2)] },
  {
    name: "nano_arc_easy",
    mirrors: "ARC-Easy",
    shots: 3,
    parts: [
      part("calendar", 90, 4),
      part("successor", 60, 4),
      part("combination", 90, 4),
      part("add2", 80, 4),
      part("subtract2", 80, 4),
    ],
  },
  {
    name: "nano_arc_challenge",
    mirrors: "ARC-Challenge",
    shots: 3,
    parts: [
      part("add3", 100, 4),
      part("subtract3", 80, 4),
      part("multiply", 40, 4),
      part("multiply_add", 90, 4),
      part("program", 90, 4),
    ],
  },
  { name: "nano_hellaswag", mirrors: "HellaSwag", shots: 3, parts: [part("story", 400, 4)] },
  {
    name: "nano_bbh",
    mirrors: "BBH",
    shots: 3,
    parts: [
      part("boolean", 120, 2),
      part("sort", 120, 4),
      part("program", 140, 4),
      part("reversal", 20, 4),
    ],
  },
];

/** Draws before a family counts as having no more questions. */
const MOST_DRAWS = 200_000;

/** The items of a task: questions that differ from each other and from those in `asked` (to which they are added), the right choice at every place equally often. */
export function taskItems(world: World, spec: TaskSpec, asked: Set<string> = new Set()): TaskItem[] {
  const random = rng(world.seed, "nanoworld", "task", spec.name);
  const drafts: Omit<TaskItem, "id">[] = [];
  for (const { family, items, choices } of spec.parts) {
    let places: number[] = [];
    for (let i = 0; i < items; i++) {
      if (places.length === 0) places = random.shuffle(Array.from({ length: choices }, (_, place) => place));
      drafts.push(question(world, spec, family, choices, places.pop()!, random, asked));
    }
  }
  // Families mixed, so that a limited evaluation sees all of them.
  return random.shuffle(drafts).map((item, i) => ({ id: `${spec.name}-${String(i).padStart(4, "0")}`, ...item }));
}

function question(
  world: World,
  spec: TaskSpec,
  family: string,
  choices: number,
  place: number,
  random: Rng,
  asked: Set<string>,
): Omit<TaskItem, "id"> {
  const draft = new Draft();
  for (let i = 0; i < MOST_DRAWS; i++) {
    world.draw(random, "test", draft, family);
    const text = decode(draft.tokens.subarray(0, draft.length));
    if (asked.has(text) || spec.accept?.(draft) === false) continue;
    const start = draft.answers.indexOf(1);
    const end = draft.answers.lastIndexOf(1, draft.length - 1) + 1;
    const right = decode(draft.tokens.subarray(start, end));
    const index = world.families.findIndex((f) => f.name === family);
    const wrong = world.families[index].rivals(draft, random, choices - 1).map(decode);
    if (new Set([right, ...wrong]).size !== choices) continue;
    asked.add(text);
    const shots = shotsFor(world, spec, family, draft, random);
    return {
      task: spec.name,
      family,
      context: [...shots, ...words(draft, 0, start)].join(" "),
      choices: [...random.shuffle(wrong).slice(0, place), right, ...wrong.slice(place)],
      answer: place,
      suffix: decode(draft.tokens.subarray(end, draft.length)),
    };
  }
  throw new RangeError(`Cannot make ${spec.name}: the family "${family}" has too few test statements`);
}

/** Training statements of the family that do not tell the answer: another table entry, and for facts the same relation, as MMLU keeps to one subject. */
function shotsFor(world: World, spec: TaskSpec, family: string, asked: Draft, random: Rng): string[] {
  const shots: string[] = [];
  const shot = new Draft();
  let room = SEQUENCE_LENGTH - asked.length;
  const shortest = world.families.find((f) => f.name === family)!.tokens[0];
  while (shots.length < spec.shots && room >= shortest) {
    world.draw(random, "train", shot, family);
    if (shot.length > room || shot.key >= 0 && shot.key === asked.key) continue;
    if (family === "fact" && (shot.notes[1] !== asked.notes[1] || shot.notes[0] === asked.notes[0])) continue;
    const text = decode(shot.tokens.subarray(0, shot.length));
    if (shots.includes(text)) continue;
    shots.push(text);
    room -= shot.length;
  }
  return shots;
}

function words(draft: Draft, start: number, end: number): string[] {
  return end > start ? [decode(draft.tokens.subarray(start, end))] : [];
}

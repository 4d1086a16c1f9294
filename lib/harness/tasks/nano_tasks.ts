/** Generated tasks in NanoWorld's words, for its model: sums, truth values, and programs whose answers Python checks. */
import { type Doc, type GeneratedDefinition, text } from "./definition.ts";
import { strip } from "./words.ts";

/** How a family's statements look; the groups are what is asked and what answers it. */
const statements: Readonly<Record<string, RegExp>> = {
  sums: /^(\d(?: \d)* [+-] \d(?: \d)* =) (\d(?: \d)*)$/,
  logic: /^(\((?: (?:true|false|and|or|xor|not|\(|\)))+ =) (true|false)$/,
  programs: /^(set ([x-z]) \d [+*-] \d ; show \2 [+-] \d :) (\d \d)$/,
};

/** The rows of a family that texts of NanoWorld hold, each once, in order: `prompt` and `answer`. */
export function nanoRowsOf(family: string, lines: readonly string[]): Doc[] {
  const all = lines.flatMap((line) => line.split(" .")).map((statement) => statements[family].exec(statement.trim()));
  const rows = new Map(all.filter((match) => match !== null).map((match) => [match[1], match.at(-1)!]));
  return Array.from(rows, ([prompt, answer]) => ({ prompt, answer }));
}

/** The id that stands for a Hub id in their data source: their rows come with the kit. */
export const nanoRepo = "nanoworld";

function nano(id: string, family: string, length: number): GeneratedDefinition {
  return {
    kind: "generated",
    id,
    version: "1",
    data: { repo: nanoRepo, config: family, folder: `nanoworld/${family}` },
    split: "validation",
    shots: 0,
    sampler: "first",
    prompt: (doc) => text(doc, "prompt"),
    target: (doc) => text(doc, "answer"),
    stops: ["."],
    length,
    metric: "exact_match",
    filters: { none: strip },
    right: (answer, target) => answer === target,
  };
}

/** `set y 7 * 6 ; show y + 7 :` as Python, whose answer must be that of the model. */
const code: GeneratedDefinition = {
  ...nano("nano_code", "programs", 3),
  metric: "pass@1",
  program(answer, doc) {
    const [, variable, first, second] = /^set (.) (.*) ; show . (.*) :$/.exec(text(doc, "prompt"))!;
    const said = JSON.stringify(answer);
    return `${variable} = ${first}\nassert ${variable} ${second} == int(${said}.replace(" ", ""))\n`;
  },
};

/** All of them. */
export const nanoDefinitions: readonly GeneratedDefinition[] = [
  nano("nano_gsm8k", "sums", 5),
  nano("nano_logic", "logic", 2),
  code,
];

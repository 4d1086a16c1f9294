/** Options of commands: one table each, and what cannot be meant is refused before any work. Needs no permission but the name of where the user stands. */
import { resolve } from "@std/path";
import { parseArgs } from "node:util";

/** An option: its default (a boolean makes it a flag) and what it does. Without a default it is required. */
export interface Option {
  readonly default?: string | boolean;
  readonly help: string;
  /** Says what is wanted where a text cannot be meant; anything but the empty text will do when absent. */
  readonly check?: Check;
  /** A path: a relative one is taken from where the user stands. */
  readonly path?: boolean;
  /** May be given more than once: the texts are joined by line breaks. */
  readonly many?: boolean;
}

/** What is wanted instead of a text; undefined where it will do. */
export type Check = (text: string) => string | undefined;

const digits = /^\d+$/;
const inRange = (text: string, least: number) => digits.test(text) && Number(text) >= least && Number(text) <= 2 ** 48;
const orWords = (words: readonly string[]) => words.map((word) => ` or ${word || "nothing"}`).join("");

/** A positive integer, or one of the words. */
export const count = (...words: string[]): Check => (text) =>
  words.includes(text) || inRange(text, 1) ? undefined : `a positive integer${orWords(words)}`;

/** An integer that is not negative, as seeds are. */
export const whole = (...words: string[]): Check => (text) =>
  words.includes(text) || inRange(text, 0) ? undefined : `an integer, 0 or more${orWords(words)}`;

/** A number within bounds, in decimal notation. */
export const number = ({ least = 0, most = Infinity }: { least?: number; most?: number } = {}): Check => (text) => {
  const plain = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text), value = Number(text);
  if (plain && Number.isFinite(value) && value >= least && value <= most) return;
  return `a number ${most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`}`;
};

/** One of the words. */
export const oneOf = (...words: readonly string[]): Check => (text) =>
  words.includes(text) ? undefined : `one of ${words.join(", ")}`;

/** Words with commas between them, none of them empty or twice. */
export const listOf = (...words: readonly string[]): Check => (text) => {
  const found = text.split(",");
  if (found.every((word) => words.includes(word)) && new Set(found).size === found.length) return;
  return `words with commas between them, of ${words.join(", ")}`;
};

/** The command's options by name, and its arguments as they were typed. Prints the help and exits on --help; exits 2 on what cannot be meant. */
export function readOptions<T extends Record<string, Option>>(
  usage: string,
  options: T,
  positional: number | "any" = 0,
): { [K in keyof T]: T[K] extends { default: boolean } ? boolean : string } & { _: string[] } {
  const names = Object.keys(options);
  const help = () => {
    const lines = names.map((n) => {
      const value = options[n].default;
      return `  --${n.padEnd(14)} ${options[n].help}${typeof value === "string" && value ? ` (${value})` : ""}`;
    });
    return [`Usage: ${usage}`, ...lines].join("\n");
  };
  const fail = (what: string): never => refuse(`${what} (--help lists the options)`);
  const isFlag = (name: string) => typeof options[name].default === "boolean";
  const types = Object.fromEntries(names.map((n) => [n, { type: isFlag(n) ? "boolean" as const : "string" as const }]));
  let parsed: { values: Record<string, string | boolean | undefined>; positionals: string[]; tokens: readonly Token[] };
  try {
    parsed = parseArgs({
      args: Deno.args,
      options: { ...types, help: { type: "boolean" } },
      allowPositionals: true,
      allowNegative: true,
      tokens: true,
    }) as typeof parsed;
  } catch (error) {
    return fail(firstLine((error as Error).message));
  }
  const { values, positionals, tokens } = parsed;
  if (values.help) {
    console.log(help());
    Deno.exit(0);
  }
  const read: Record<string, string | boolean> = {};
  for (const name of names) {
    const { default: standard, check, many } = options[name];
    const given = tokens.filter((token) => token.kind === "option" && token.name === name);
    if (given.length > 1 && !many) fail(`Option --${name} is given ${given.length} times, wanted once.`);
    const value = many && given.length > 0 ? given.map((token) => token.value).join("\n") : values[name] ?? standard;
    if (value === undefined) return fail(`Option --${name} is missing.`);
    const wanted = given.length === 0 || typeof value === "boolean"
      ? undefined
      : check
      ? check(value)
      : value.trim() === ""
      ? "a text that is not empty"
      : undefined;
    if (wanted !== undefined) fail(`--${name} is ${JSON.stringify(value)}, wanted ${wanted}`);
    read[name] = options[name].path && given.length > 0 ? userPath(value as string) : value;
  }
  if (positional !== "any" && positionals.length !== positional) {
    fail(`Wanted ${positional} arguments, found ${positionals.length}.`);
  }
  const empty = positionals.indexOf("");
  if (empty >= 0) fail(`Argument ${empty + 1} is empty.`);
  return { ...read, _: positionals } as unknown as ReturnType<typeof readOptions<T>>;
}

/** A message in one line; node:util's go on with advice, of which that on dashes is worth keeping. */
const firstLine = (message: string): string => message.replaceAll(/\s*\n\s*/g, " ");

interface Token {
  readonly kind: string;
  readonly name?: string;
  readonly value?: string;
}

/** Takes relative paths from where the user stands: a task runs in the project's folder. For commands whose own files are not beside it. */
export function standWhereUserStands(): void {
  const place = Deno.env.get("INIT_CWD");
  if (place) Deno.chdir(place);
}

/** A path as the user meant it, in commands that stay in the project's folder. */
function userPath(path: string): string {
  const place = Deno.env.get("INIT_CWD");
  return place && place !== Deno.cwd() ? resolve(place, path) : path;
}

/** Whether the user typed an option, or the negative of a flag. */
export const isGiven = (name: string): boolean =>
  Deno.args.some((arg) => [`--${name}`, `--no-${name}`].includes(arg.split("=")[0]));

/** Options that do not fit together, or not the model: says so and exits 2. */
export function refuse(what: string): never {
  console.error(what);
  Deno.exit(2);
}

/** A positive integer option; exits 2 otherwise. */
export function positiveInteger(name: string, text: string): number {
  const wanted = count()(text);
  return wanted === undefined ? Number(text) : refuse(`--${name} is ${JSON.stringify(text)}, wanted ${wanted}`);
}

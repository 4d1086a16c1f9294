/** What the scripts share: options from a table, a progress meter on stderr, errors a person can read. */
import { parseArgs } from "@std/cli/parse-args";
import { ProgressMeter } from "quant-dllm";

/** An option: its default (a boolean makes it a flag) and what it does. Without a default it is required. */
export interface Option {
  readonly default?: string | boolean;
  readonly help: string;
}

/** The command's options by name, and its positional arguments. Prints the help and exits on --help; exits 2 on an unknown option or a missing one. */
export function readOptions<T extends Record<string, Option>>(
  usage: string,
  options: T,
  positional = 0,
): { [K in keyof T]: T[K] extends { default: boolean } ? boolean : string } & { _: string[] } {
  const names = Object.keys(options);
  const flags = names.filter((n) => typeof options[n].default === "boolean");
  const help = () => {
    const lines = names.map((n) => {
      const value = options[n].default;
      return `  --${n.padEnd(14)} ${options[n].help}${typeof value === "string" && value ? ` (${value})` : ""}`;
    });
    return [`Usage: ${usage}`, ...lines].join("\n");
  };
  const fail = (what: string): never => {
    console.error(`${what}\n\n${help()}`);
    Deno.exit(2);
  };
  const parsed = parseArgs(Deno.args, {
    boolean: [...flags, "help"],
    negatable: flags.filter((n) => options[n].default),
    string: names.filter((n) => !flags.includes(n)),
    default: Object.fromEntries(names.map((n) => [n, options[n].default])),
    unknown: (arg: string) => arg.startsWith("-") ? fail(`Unknown option ${arg}.`) : true,
  }) as Record<string, unknown> & { _: unknown[] };
  if (parsed.help) {
    console.log(help());
    Deno.exit(0);
  }
  const missing = names.find((n) => parsed[n] === undefined || parsed[n] === "" && options[n].default !== "");
  if (missing) fail(`Option --${missing} is missing.`);
  if (parsed._.length !== positional) fail(`Wanted ${positional} arguments, found ${parsed._.length}.`);
  return { ...parsed, _: parsed._.map(String) } as ReturnType<typeof readOptions<T>>;
}

/** A positive integer option; exits 2 otherwise. */
export function positiveInteger(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  console.error(`--${name} is ${JSON.stringify(text)}, wanted a positive integer`);
  Deno.exit(2);
}

/** A progress meter on stderr. */
export function meter(label: string, total: number, unit: string, before = 0): ProgressMeter {
  return new ProgressMeter({
    label,
    total,
    before,
    unit,
    now: () => performance.now(),
    write: (text) => void Deno.stderr.writeSync(new TextEncoder().encode(text)),
    terminal: Deno.stderr.isTerminal(),
    width: () => Deno.consoleSize().columns,
  });
}

/** Runs a script: an error ends it with its message alone (the stack with DEBUG=1) and exit code 1. */
export async function main(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    console.error(`\nerror: ${message}`);
    if (Deno.env.get("DEBUG") && error instanceof Error) console.error(error.stack);
    Deno.exit(1);
  }
}

/** Aborts on Ctrl-C. */
export function interruptSignal(): AbortSignal {
  const stop = new AbortController();
  Deno.addSignalListener("SIGINT", () => stop.abort(new Error("interrupted")));
  return stop.signal;
}

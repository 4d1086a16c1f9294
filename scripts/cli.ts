/** What the scripts share: options from a table, a progress meter on stderr, errors a person can read. */
import { parseArgs } from "@std/cli/parse-args";
import { type Device, type LoadOptions, ProgressMeter } from "quant-dllm";

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

/** Options that do not fit together, or not the model: says so and exits 2. */
export function refuse(what: string): never {
  console.error(what);
  Deno.exit(2);
}

/** A positive integer option; exits 2 otherwise. */
export function positiveInteger(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  return refuse(`--${name} is ${JSON.stringify(text)}, wanted a positive integer`);
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

/** Aborts on Ctrl-C; a second one ends the process at once. */
export function interruptSignal(): AbortSignal {
  const stop = new AbortController();
  Deno.addSignalListener("SIGINT", () => {
    if (stop.signal.aborted) Deno.exit(130);
    console.error("\nstopping at the next safe place; again to stop at once");
    stop.abort(new Error("interrupted"));
  });
  return stop.signal;
}

/** The options of a command that runs a model. */
export const runOptions = {
  device: { default: "auto", help: "auto, cpu, webgpu or cuda" },
  run: { default: "auto", help: "dense (float32 weights), packed (from the stored codes), or auto: packed when large" },
  "accuracy-level": { default: "4", help: "packed: 4 rounds the inputs of linears to int8, 0 does not" },
  revision: { default: "main", help: "branch, tag or commit on the Hub" },
} satisfies Record<string, Option>;

/** `runOptions` as the library takes them. Exits 2 on a value that does not exist. */
export function loadOptions(options: Record<keyof typeof runOptions, string>, signal?: AbortSignal): LoadOptions {
  const oneOf = <T extends string>(name: keyof typeof runOptions, ...values: T[]): T => {
    const found = values.find((value) => value === options[name]);
    if (found !== undefined) return found;
    console.error(`--${name} is ${JSON.stringify(options[name])}, wanted ${values.join(", ")}`);
    Deno.exit(2);
  };
  return {
    device: options.device as Device, // an unknown one is an error that says more than a list
    run: oneOf("run", "auto", "dense", "packed"),
    accuracyLevel: oneOf("accuracy-level", "4", "0") === "4" ? 4 : 0,
    revision: options.revision === "main" ? undefined : options.revision,
    onProgress: downloadMeter(),
    onOpen: openMeter(),
    signal,
  };
}

/** Progress of opening a packed model that takes a while. */
function openMeter(): NonNullable<LoadOptions["onOpen"]> {
  let progress: ProgressMeter | undefined;
  return (done, total) => {
    if (total < 8) return;
    progress ??= meter("open", total, "blocks");
    progress.update(done);
    if (done === total) progress.finish();
  };
}

/** Progress of a download, begun when the first bytes come. */
export function downloadMeter(): NonNullable<LoadOptions["onProgress"]> {
  let progress: ProgressMeter | undefined;
  return ({ bytes, total, file }) => {
    progress ??= meter("download", total, "bytes");
    progress.update(bytes, file);
    if (bytes === total) progress.finish();
  };
}

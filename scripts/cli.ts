/** What the scripts share: their options, a progress meter on stderr, errors a person can read. */
import { type Device, type LoadOptions, ProgressMeter } from "quant-dllm";
import { oneOf, type Option, whole } from "./options.ts";

export * from "./options.ts";

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
    if (interrupted) {
      console.error(`\nstopped: ${message}; the same command goes on where this one was, or begins again`);
      Deno.exit(130);
    }
    console.error(`\nerror: ${message}`);
    if (error instanceof Deno.errors.NotCapable) {
      console.error(
        "The task may not write there: give a folder below results, or run the script with deno run --allow-write",
      );
    }
    if (Deno.env.get("DEBUG") && error instanceof Error) console.error(error.stack);
    Deno.exit(1);
  }
  if (interrupted) Deno.exit(130);
}

let interrupted = false;

/** Aborts on Ctrl-C; a second one ends the process at once. */
export function interruptSignal(): AbortSignal {
  const stop = new AbortController();
  Deno.addSignalListener("SIGINT", () => {
    if (stop.signal.aborted) Deno.exit(130);
    interrupted = true;
    console.error("\nstopping at the next safe place; again to stop at once");
    stop.abort(new Error("interrupted"));
  });
  return stop.signal;
}

const devices = oneOf("auto", "cpu", "webgpu", "cuda");
export const deviceOption = { default: "auto", help: "auto, cpu, webgpu or cuda", check: devices } satisfies Option;
export const seedOption = (help: string) => ({ default: "1", help, check: whole() }) satisfies Option;

/** The options of a command that opens a checkpoint. */
export const checkpointOptions = {
  revision: { default: "main", help: "branch, tag or commit on the Hub" },
  "mask-id": {
    default: "auto",
    help: "id of the mask token, where neither config nor tokenizer says",
    check: whole("auto"),
  },
  "config-override": {
    default: "",
    help: "FIELD=VALUE of config.json, the value as JSON; may be repeated",
    check: (text: string) => {
      const odd = text.split("\n").find((line) => !/^[\w.-]+=/.test(line));
      return odd === undefined ? undefined : "FIELD=VALUE";
    },
    many: true,
  },
} satisfies Record<string, Option>;

/** `checkpointOptions` as the library takes them. */
export function openOptions(options: Record<keyof typeof checkpointOptions, string>, signal?: AbortSignal) {
  const overrides = options["config-override"].split("\n").filter(Boolean).map((line): [string, unknown] => {
    const at = line.indexOf("=");
    return [line.slice(0, at), jsonOrText(line.slice(at + 1))];
  });
  return {
    revision: options.revision === "main" ? undefined : options.revision,
    maskId: options["mask-id"] === "auto" ? undefined : Number(options["mask-id"]),
    configOverrides: Object.fromEntries(overrides),
    onNotice: (line: string) => console.error(line),
    onProgress: downloadMeter(),
    signal,
  };
}

/** JSON where it is some, else the text itself: `silu` needs no quotes. */
function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The options of a command that runs a model. */
export const runOptions = {
  device: deviceOption,
  run: {
    default: "auto",
    help: "dense (float32 weights), packed (from the stored codes), or auto: packed when large",
    check: oneOf("auto", "dense", "packed"),
  },
  "accuracy-level": {
    default: "4",
    help: "packed: 4 rounds the inputs of linears to int8, 0 does not",
    check: oneOf("4", "0"),
  },
  ...checkpointOptions,
} satisfies Record<string, Option>;

/** `runOptions` as the library takes them. */
export function loadOptions(options: Record<keyof typeof runOptions, string>, signal?: AbortSignal): LoadOptions {
  return {
    ...openOptions(options, signal),
    device: options.device as Device,
    run: options.run as LoadOptions["run"],
    accuracyLevel: options["accuracy-level"] === "4" ? 4 : 0,
    onOpen: openMeter(),
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

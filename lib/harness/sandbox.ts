/** Code answers are run by a Python that has confined itself: see `sandbox_prelude.ts` for what keeps what. */
import { prelude } from "./sandbox_prelude.ts";

/** Which Python runs code answers, and what each may take. */
export interface SandboxOptions {
  /** The Python 3 that runs programs; default `python3`. */
  readonly python?: string;
  /** Seconds after which a program is killed, by the clock. Default 10. */
  readonly wallSeconds?: number;
  /** Seconds of processor time. Default 5. */
  readonly cpuSeconds?: number;
  /** Bytes of address space. Default 2^31. */
  readonly memoryBytes?: number;
  readonly signal?: AbortSignal;
}

export interface ProgramResult {
  readonly passed: boolean;
  /** "passed"; "timed out"; "killed" (processor time, memory, a call that is not survived); or Python's error. */
  readonly outcome: string;
}

/** Bytes of one file that a program may write, and of what the confined process may say. */
const [longestFile, longestAnswer] = [2 ** 24, 2 ** 16];

/**
 * Runs a Python program in the sandbox: no network, no files but those of a new folder that is then removed, no processes or threads, limits on memory and
 * time. It passes when it comes to its end without an error; one that exits has not. Every run checks that it is confined first. Throws `Error` when Python is
 * missing, or cannot be confined here: nothing of the program has run then.
 */
export async function runPython(program: string, options: SandboxOptions = {}): Promise<ProgramResult> {
  const { python = "python3", wallSeconds = 10, cpuSeconds = 5, memoryBytes = 2 ** 31, signal } = options;
  signal?.throwIfAborted();
  const folder = await Deno.makeTempDir({ prefix: "answer-" });
  try {
    const child = start(python, folder);
    const nonce = crypto.randomUUID();
    let late = false;
    const kill = () => {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
    };
    const timer = setTimeout(() => (late = true, kill()), wallSeconds * 1000);
    signal?.addEventListener("abort", kill);
    const given = { program, nonce, memory: memoryBytes, file: longestFile, seconds: cpuSeconds };
    const writer = child.stdin.getWriter();
    // A Python that ends at once closes its input: what it says, or does not say, tells why.
    await writer.write(new TextEncoder().encode(JSON.stringify(given) + "\n")).then(() => writer.close()).catch(
      () => {},
    );
    const [said, stderr] = await Promise.all([readUpTo(child.stdout, kill), readUpTo(child.stderr, kill)]);
    await child.status;
    clearTimeout(timer);
    signal?.removeEventListener("abort", kill);
    signal?.throwIfAborted();
    const answer = parsed(said);
    if (answer?.refused !== undefined) throw refusal(String(answer.refused));
    if (answer?.nonce === nonce) {
      return answer.error === null
        ? { passed: true, outcome: "passed" }
        : { passed: false, outcome: String(answer.error) };
    }
    if (stderr.trim() !== "") throw refusal(stderr.trim().split("\n").pop()!); // before it was confined, it said so there
    return { passed: false, outcome: late ? "timed out" : "killed" };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Rejects with what is missing where programs cannot be confined: before a model runs for hours to write some.
 *
 * @example
 * ```ts
 * import { checkSandbox } from "quant-dllm";
 *
 * await checkSandbox({ python: "/usr/bin/python3" }); // a Linux with Landlock and seccomp, or an error
 * ```
 */
export async function checkSandbox(options: SandboxOptions = {}): Promise<void> {
  const { passed, outcome } = await runPython("assert 1 + 1 == 2", options);
  if (!passed) throw refusal(`a program that does nothing ended with ${outcome}`);
}

function start(python: string, folder: string): Deno.ChildProcess {
  try {
    return new Deno.Command(python, {
      args: ["-I", "-B", "-c", prelude],
      cwd: folder,
      clearEnv: true,
      env: { PATH: Deno.env.get("PATH") ?? "", LANG: "C.UTF-8" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw refusal(`there is no ${JSON.stringify(python)}`);
  }
}

function refusal(why: string): Error {
  return new Error(
    `Cannot run code answers: ${why}; they run in a Python 3 confined by Landlock and seccomp, or not at all`,
  );
}

async function readUpTo(stream: ReadableStream<Uint8Array>, stop: () => void): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > longestAnswer) {
      stop();
      break;
    }
  }
  return text;
}

function parsed(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

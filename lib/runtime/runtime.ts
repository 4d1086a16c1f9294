/** Device choice and sessions: the only file that imports onnxruntime. */
import * as ort from "onnxruntime-node";
import { type GemmOptions, type Products, productShape } from "../tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../tensor/matrix.ts";
import { type External, Graph } from "../onnx/graph.ts";
import { matmul } from "../onnx/ops.ts";
import { listenForStop, throwIfStopped } from "./stop.ts";

/** Where the arithmetic runs. `auto` takes a GPU when there is one. */
export type Device = "auto" | "cpu" | "webgpu" | "cuda";

/** What a session takes and gives: numbers with dimensions; int64 as BigInt64Array. */
export interface Feed {
  readonly dims: readonly number[];
  readonly data: Float32Array | Float64Array | BigInt64Array;
}

export interface Session extends AsyncDisposable {
  /** Runs the graph for the outputs named in `only`, or all. One named in `into` is written to that array (its length must fit), others are allocated. */
  run(
    feeds: Readonly<Record<string, Feed>>,
    into?: Readonly<Record<string, Feed>>,
    only?: readonly string[],
  ): Promise<Record<string, Float32Feed>>;
}

export interface Float32Feed {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** A device with its sessions; its products are those of the `Kernels` seam. */
export interface Runtime extends Products, AsyncDisposable {
  readonly device: Exclude<Device, "auto">;
  /** What numbers were made on: device, with the name that QUANT_DLLM_GPU gives it, system, and versions. */
  readonly platform?: string;
  /** A session for a serialised graph and the tensors beside it, freed with the runtime at the latest. It keeps neither array. */
  session(model: Uint8Array, external?: readonly External[], options?: SessionOptions): Promise<Session>;
}

export interface SessionOptions {
  /** Gives working memory back after every run. By default it is kept for the next one, which large graphs pay for in gigabytes. */
  readonly lean?: boolean;
}

/** Two kinds of GPU give two numbers, and no permission but all of them lets a programme read which it is: users say it in QUANT_DLLM_GPU. */
function platformOf(device: string): string {
  const variable = "QUANT_DLLM_GPU";
  const may = Deno.permissions.querySync({ name: "env", variable }).state === "granted";
  const gpu = device === "cpu" ? undefined : may ? Deno.env.get(variable) : undefined;
  const { os, arch } = Deno.build, versions = `deno ${Deno.version.deno}, onnxruntime ${ort.env.versions.common}`;
  return `${device}${gpu ? ` (${gpu})` : ""}, ${os} ${arch}, ${versions}`;
}

ort.env.logLevel = "fatal"; // Failures come back as errors; the native log would repeat them on stderr.

const remedies: Record<Exclude<Device, "auto">, string> = {
  cpu: "reinstall onnxruntime-node",
  webgpu:
    "install a Vulkan driver (on Linux: mesa-vulkan-drivers or the GPU vendor's; for software Vulkan set VK_ICD_FILENAMES)",
  cuda: "install CUDA 12 with cuDNN 9 and run `deno install --allow-scripts=npm:onnxruntime-node`",
};

/**
 * Opens a runtime. Throws when an explicit device is missing and says what to install; `auto` tries cuda, webgpu, cpu.
 *
 * @example
 * ```ts
 * import { type Matrix, openRuntime } from "quant-dllm";
 *
 * await using runtime = await openRuntime({ device: "auto" });
 * const A: Matrix = { rows: 1, cols: 2, shape: [1, 2], data: Float32Array.of(3, 4) };
 * const { data } = await runtime.gemm(A, A, { transB: true }); // A Aᵀ, computed on the device
 * console.log(runtime.device, data);
 * ```
 */
export async function openRuntime(
  { device = "auto", threads = 0 }: { device?: Device; threads?: number } = {},
): Promise<Runtime> {
  listenForStop();
  if (device !== "auto") {
    if (!Object.hasOwn(remedies, device)) {
      throw new RangeError(`Cannot open a runtime: device is "${device}", wanted auto, cpu, webgpu or cuda`);
    }
    await probe(device, threads);
    return new OnnxRuntime(device, threads);
  }
  for (const candidate of hasGpu() ? ["cuda", "webgpu"] as const : []) {
    try {
      await probe(candidate, threads);
      return new OnnxRuntime(candidate, threads);
    } catch {
      continue; // `auto` promises the best device that works, not a given one.
    }
  }
  return new OnnxRuntime("cpu", threads);
}

/** Whether the system shows a GPU. On Linux by its device nodes: a software Vulkan is only used when it is asked for by name. */
function hasGpu(): boolean {
  if (Deno.build.os !== "linux") return true;
  const exists = (path: string) => {
    try {
      return Deno.statSync(path) !== null;
    } catch {
      return false;
    }
  };
  return exists("/dev/nvidiactl") || exists("/dev/dri/renderD128");
}

/** Runs one product on the device, since a provider that loads may still lack a driver. */
async function probe(device: Exclude<Device, "auto">, threads: number): Promise<void> {
  try {
    // onnxruntime drops a provider that its build lacks, with a warning, and goes on with the next one.
    const built = ort.listSupportedBackends().map(({ name }) => name);
    if (!built.includes(device)) throw new Error(`this build of onnxruntime has only ${built.join(", ")}`);
    await using runtime = new OnnxRuntime(device, threads);
    const one = matrix(1, 1, Float32Array.of(1));
    await runtime.gemm(one, one);
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0].replace(/^.*was false\. /, "") : String(error);
    throw new Error(`Cannot use device "${device}": ${reason}. To use it, ${remedies[device]}; or pass device "cpu".`);
  }
}

/** Threads of a session that stands beside many: microseconds that they wait for work before they sleep. */
const among = { intra_op: { allow_spinning: "1", spin_duration_us: "50" }, force_spinning_stop: "1" };

class OnnxRuntime implements Runtime {
  readonly platform: string;
  readonly #sessions = new Set<OnnxSession>();
  readonly #products = new Map<string, Promise<Session>>();

  constructor(readonly device: Exclude<Device, "auto">, readonly threads: number) {
    this.platform = platformOf(device);
  }

  session(
    model: Uint8Array,
    external: readonly External[] = [],
    { lean = external.length > 0 }: SessionOptions = {},
  ): Promise<Session> {
    return this.#open(model, { spinning: true, external, lean });
  }

  /**
   * Without `spinning`, onnxruntime's threads sleep between runs: products alternate with row loops, whose workers want the cores. Sessions with tensors
   * of their own stand beside many like them: they return their working memory, and their threads spin only from one operator to the next.
   */
  async #open(
    model: Uint8Array,
    { spinning, external = [], lean = false }: SessionOptions & {
      readonly spinning: boolean;
      readonly external?: readonly External[];
    },
  ): Promise<Session> {
    const many = external.length > 0;
    const session = new OnnxSession(
      await ort.InferenceSession.create(model, {
        executionProviders: this.device === "cpu" ? ["cpu"] : [this.device, "cpu"],
        intraOpNumThreads: this.threads,
        logSeverityLevel: 3,
        externalData: [...external],
        enableCpuMemArena: !lean,
        enableMemPattern: !lean, // one buffer for a whole run would be fresh memory each time
        extra: { session: many ? among : { intra_op: { allow_spinning: spinning ? "1" : "0" } } },
      }),
      () => this.#sessions.delete(session),
    );
    this.#sessions.add(session);
    return session;
  }

  async gemm(A: Matrix, B: Matrix, options: GemmOptions = {}): Promise<Matrix> {
    const C = options.out ?? matrix(...productShape(A, B, options));
    await this.#multiply("float32", A, B, C, options);
    return C;
  }

  async gemm64(A: Matrix64, B: Matrix64, options: GemmOptions<Matrix64> = {}): Promise<Matrix64> {
    const C = options.out ?? matrix64(...productShape(A, B, options));
    await this.#multiply("float64", A, B, C, options);
    return C;
  }

  async #multiply(
    type: "float32" | "float64",
    A: Matrix | Matrix64,
    B: Matrix | Matrix64,
    C: Matrix | Matrix64,
    { transA = false, transB = false }: GemmOptions<unknown>,
  ): Promise<void> {
    const key = `${type} ${transA} ${transB}`;
    let session = this.#products.get(key);
    if (!session) {
      const g = new Graph();
      const a = g.input("A", type, transA ? ["k", "m"] : ["m", "k"]);
      const b = g.input("B", type, transB ? ["n", "k"] : ["k", "n"]);
      g.output("C", matmul(g, a, b, { transA, transB }));
      this.#products.set(key, session = this.#open(g.encode(), { spinning: false }));
    }
    const feed = ({ shape, data }: Matrix | Matrix64): Feed => ({ dims: shape, data });
    await (await session).run({ A: feed(A), B: feed(B) }, { C: feed(C) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#sessions].map((s) => s[Symbol.asyncDispose]()));
  }
}

class OnnxSession implements Session {
  constructor(readonly inner: ort.InferenceSession, readonly onDispose: () => void) {}

  async run(
    feeds: Readonly<Record<string, Feed>>,
    into: Readonly<Record<string, Feed>> = {},
    only: readonly string[] = this.inner.outputNames,
  ) {
    throwIfStopped();
    const fetches: Record<string, ort.Tensor | null> = {};
    for (const name of only) fetches[name] = into[name] ? tensor(into[name]) : null;
    const inputs: Record<string, ort.Tensor> = {};
    for (const name in feeds) inputs[name] = tensor(feeds[name]);
    const results = await this.inner.run(inputs, fetches);
    const outputs: Record<string, Float32Feed> = {};
    for (const name in results) {
      const { dims, data } = results[name];
      outputs[name] = { dims, data: data as Float32Array };
    }
    return outputs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.onDispose();
    await this.inner.release();
  }
}

function tensor({ dims, data }: Feed): ort.Tensor {
  if (data instanceof Float32Array) return new ort.Tensor("float32", data, dims as number[]);
  if (data instanceof Float64Array) return new ort.Tensor("float64", data, dims as number[]);
  return new ort.Tensor("int64", data, dims as number[]);
}

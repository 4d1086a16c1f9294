/**
 * The solver on the seven linears of one LLaDA-8B block, H given: seconds of each linear by where they go, the sum against its bar, and peak memory
 * with all weights of the block held. Exits 1 when a bar is missed. Arguments: methods to run (official, plus, gptq; all by default), and `only=down`
 * for some of the linears.
 */
import process from "node:process";
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { type Factors, newFactors } from "../../lib/quant/factor.ts";
import type { Method } from "../../lib/quant/method.ts";
import type { Kernels } from "../../lib/tensor/kernels.ts";
import { type Matrix, matrix } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { weights } from "./inputs.ts";
import { type Bar, judge, report, type Time, type Timing, verdict } from "./report.ts";

const N = 4096, M = 12288;
/** Linears by the second moment they share, in the order of a pipeline: name, rows, columns. */
const stages: [string, number, number][][] = [
  [["q", N, N], ["k", N, N], ["v", N, N]],
  [["o", N, N]],
  [["gate", M, N], ["up", M, N]],
  [["down", N, M]],
];
const methods: Record<string, { method: Method; atMost?: number }> = {
  official: { method: daq({ bits: 2, group: 128, profile: "official" }), atMost: 90 },
  plus: { method: daq({ bits: 2, group: 128, profile: "plus" }), atMost: 300 },
  gptq: { method: gptq({ bits: 2, group: 128 }) },
};
const only = Deno.args.find((a) => a.startsWith("only="))?.slice(5).split(",");
const wanted = Deno.args.filter((a) => a in methods);

await using runtime = await openRuntime({ device: "cpu" });
await using kernels = fastKernels(runtime);

// Seconds inside the seam; what is left of a linear runs on the calling thread alone.
const spent: Record<string, number> = {};
const clocked = async <T>(part: string, run: () => Promise<T>): Promise<T> => {
  const start = performance.now();
  const result = await run();
  spent[part] = (spent[part] ?? 0) + (performance.now() - start) / 1000;
  return result;
};
const measured: Kernels = {
  gemm: (...args) => clocked("gemm", () => kernels.gemm(...args)),
  gemm64: (...args) => clocked("gemm64", () => kernels.gemm64(...args)),
  rows: (loop, ...args) => clocked(loop.name, () => kernels.rows(loop, ...args)),
};

const rate = await gemmRate();
console.error(`GEMM alone: ${rate.toFixed(0)} GFLOPS in float32`);
const square = weights(N, N), wide = weights(M, N);
/** As the caller of a real block: every linear's own weights. */
const held = new Map<string, Matrix>();
for (const [name, rows, cols] of stages.flat()) {
  held.set(name, matrix(rows, cols, (rows * cols === N * N ? square : wide).data.slice()));
}

const totals: Timing[] = [];
for (const [label, { method, atMost }] of Object.entries(methods)) {
  if (wanted.length > 0 && !wanted.includes(label)) continue;
  const total = { seconds: 0, cpuSeconds: 0 };
  for (const linears of stages) {
    const members = linears.filter(([name]) => !only || only.includes(name));
    if (members.length === 0) continue;
    const H = await secondMoment(members[0][2]), factors = newFactors();
    for (const [name] of members) {
      const { seconds, cpuSeconds, loss, parts } = await once(method, name, { H, factors });
      total.seconds += seconds;
      total.cpuSeconds += cpuSeconds;
      const times = `${seconds.toFixed(2).padStart(7)} s ${cpuSeconds.toFixed(2).padStart(7)} cpu s`;
      console.error(`${label.padEnd(9)}${name.padEnd(5)} ${times}  peak ${peakBytes()}  loss ${loss}  ${parts}`);
    }
  }
  const what = `${label}, ${only ?? "the seven linears of a block"}, group 128`;
  totals.push({ what, ...total, atMost: only ? undefined : atMost });
}
report("solver", totals, totals[0]);
const memory: Bar = { what: "peak memory", found: process.resourceUsage().maxRSS * 1024, atMost: 12e9 };
console.error(`Peak memory ${peakBytes()} (at most 12 GB: ${verdict(memory)})`);
judge([memory]);

async function once(
  method: Method,
  name: string,
  moment: { readonly H: Matrix; readonly factors: Factors },
): Promise<Time & { loss: string; parts: string }> {
  for (const part of Object.keys(spent)) delete spent[part];
  const cpu = process.cpuUsage(), start = performance.now();
  const q = await method.quantize({ name, W: held.get(name)!, ...moment, kernels: measured });
  const seconds = (performance.now() - start) / 1000, { user, system } = process.cpuUsage(cpu);
  const rest = Object.values(spent).reduce((left, part) => left - part, seconds);
  const parts = Object.entries({ ...spent, rest }).map(([part, s]) => `${part} ${s.toFixed(1)}`).join(", ");
  return {
    seconds,
    cpuSeconds: (user + system) / 1e6,
    loss: typeof q.report.loss === "number" ? q.report.loss.toPrecision(9) : "not measured",
    parts,
  };
}

/** The most memory that this process had resident so far. */
function peakBytes(): string {
  return `${(process.resourceUsage().maxRSS * 1024 / 1e9).toFixed(2)} GB`;
}

/** 2 XᵀX `[n, n]` of 4096 tokens whose channels share a low-rank part, and a little on the diagonal: cheap to make, as hard to factor as a real one. */
async function secondMoment(n: number): Promise<Matrix> {
  const tokens = 4096, rank = 32;
  const X = await kernels.gemm(normal(tokens, rank, "tokens"), normal(rank, n, "mixing"));
  const noise = normal(tokens, n, "noise");
  for (let i = 0; i < tokens; i++) {
    for (let j = 0; j < n; j++) {
      X.data[i * n + j] = noise.data[i * n + j] + 0.2 * X.data[i * n + j] * (j % 97 === 5 ? 8 : 1);
    }
  }
  const H = await kernels.gemm(X, X, { transA: true });
  for (let k = 0; k < H.data.length; k++) H.data[k] *= 2;
  for (let j = 0; j < n; j++) H.data[j * n + j] += 0.05 * tokens;
  return H;
}

/** Cheap numbers of variance 1: uniform. */
function normal(rows: number, cols: number, stream: string): Matrix {
  const random = rng(1, stream, rows, cols);
  return matrix(rows, cols, Float32Array.from({ length: rows * cols }, () => (random.next() - 0.5) * Math.sqrt(12)));
}

async function gemmRate(): Promise<number> {
  const A = normal(N, N, "rate");
  await kernels.gemm(A, A);
  const start = performance.now();
  await kernels.gemm(A, A);
  return 2 * N ** 3 / (performance.now() - start) / 1e6;
}

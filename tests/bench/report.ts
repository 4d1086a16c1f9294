/** Benchmarks print one table each: wall and processor seconds, the bar if there is one, and the ratio to the fast run. */
import process from "node:process";

export interface Time {
  readonly seconds: number;
  /** Of all threads: what the run costs when neighbours share the cores. */
  readonly cpuSeconds: number;
}

export interface Timing extends Time {
  readonly what: string;
  /** The bar for `seconds` on two cores with nothing else to do. */
  readonly atMost?: number;
}

/** The better of two runs by wall time, so that a page fault or a neighbour does not count. */
export async function time(run: () => unknown): Promise<Time> {
  let best: Time = { seconds: Infinity, cpuSeconds: Infinity };
  for (let repeat = 0; repeat < 2; repeat++) {
    const cpu = process.cpuUsage(), start = performance.now();
    await run();
    const seconds = (performance.now() - start) / 1000, { user, system } = process.cpuUsage(cpu);
    if (seconds < best.seconds) best = { seconds, cpuSeconds: (user + system) / 1e6 };
  }
  return best;
}

/** A time measured at a smaller size, `factor` times as long. */
export function scaled({ seconds, cpuSeconds }: Time, factor: number): Time {
  return { seconds: seconds * factor, cpuSeconds: cpuSeconds * factor };
}

/** Prints the timings to stderr for people and one JSON line to stdout. */
export function report(topic: string, timings: readonly Timing[], fast: Time): void {
  for (const { what, seconds, cpuSeconds, atMost } of timings) {
    const bar = atMost === undefined ? "" : `  (at most ${atMost} s: ${seconds <= atMost ? "met" : "MISSED"})`;
    const ratio = `${(seconds / fast.seconds).toFixed(1)} x`;
    console.error(
      `${what.padEnd(64)} ${seconds.toFixed(3).padStart(8)} s  ${cpuSeconds.toFixed(3).padStart(8)} cpu s  ${
        ratio.padStart(7)
      }${bar}`,
    );
  }
  console.log(JSON.stringify({ bench: topic, timings }));
}

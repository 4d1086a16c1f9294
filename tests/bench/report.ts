/** Benchmarks print one table each: wall and processor seconds, the bar if there is one, and the ratio to the fast run. A bar that is missed makes them exit 1. */
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

/** A measured number and what it has to keep to. */
export interface Bar {
  readonly what: string;
  readonly found: number;
  readonly atMost?: number;
  readonly atLeast?: number;
}

/** One run. */
export async function once(run: () => unknown): Promise<Time> {
  const cpu = process.cpuUsage(), start = performance.now();
  await run();
  const seconds = (performance.now() - start) / 1000, { user, system } = process.cpuUsage(cpu);
  return { seconds, cpuSeconds: (user + system) / 1e6 };
}

/** The better of two runs by wall time, so that a page fault or a neighbour does not count. */
export async function time(run: () => unknown): Promise<Time> {
  const first = await once(run), second = await once(run);
  return second.seconds < first.seconds ? second : first;
}

/** What a table says of a bar. */
export function verdict(bar: Bar): "met" | "MISSED" {
  const { found, atMost = Infinity, atLeast = -Infinity } = bar;
  return found <= atMost && found >= atLeast ? "met" : "MISSED"; // NaN misses every bar
}

/** The bars that were missed. With any, the process exits 1 once it has ended by itself: what is still to be measured or removed is not cut off. */
export function judge(bars: readonly Bar[]): string[] {
  const missed = bars.filter((bar) => verdict(bar) === "MISSED").map(({ what }) => what);
  if (missed.length > 0) Deno.exitCode = 1;
  return missed;
}

/** Prints the timings to stderr for people and one JSON line to stdout, and judges their bars. */
export function report(topic: string, timings: readonly Timing[], fast: Time): void {
  const bars = timings.map(({ what, seconds, atMost }): Bar => ({ what, found: seconds, atMost }));
  timings.forEach(({ what, seconds, cpuSeconds, atMost }, i) => {
    const bar = atMost === undefined ? "" : `  (at most ${atMost} s: ${verdict(bars[i])})`;
    const ratio = `${(seconds / fast.seconds).toFixed(1)} x`;
    console.error(
      `${what.padEnd(64)} ${seconds.toFixed(3).padStart(8)} s  ${cpuSeconds.toFixed(3).padStart(8)} cpu s  ${
        ratio.padStart(7)
      }${bar}`,
    );
  });
  console.log(JSON.stringify({ bench: topic, timings, missed: judge(bars) }));
}

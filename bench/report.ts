/** Benchmarks print one table each: seconds, the bar if there is one, and the ratio to the fast run. */

export interface Timing {
  readonly what: string;
  readonly seconds: number;
  readonly atMost?: number;
}

/** Wall time of the better of two runs, so that a page fault or a neighbour does not count. */
export async function seconds(run: () => unknown): Promise<number> {
  let best = Infinity;
  for (let repeat = 0; repeat < 2; repeat++) {
    const start = performance.now();
    await run();
    best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
}

/** Prints the timings to stderr for people and one JSON line to stdout. */
export function report(topic: string, timings: readonly Timing[], fast: number): void {
  for (const { what, seconds, atMost } of timings) {
    const bar = atMost === undefined ? "" : `  (at most ${atMost} s: ${seconds <= atMost ? "met" : "MISSED"})`;
    console.error(`${what.padEnd(72)} ${seconds.toFixed(3).padStart(9)} s  ${(seconds / fast).toFixed(1)} x${bar}`);
  }
  console.log(JSON.stringify({ bench: topic, timings }));
}

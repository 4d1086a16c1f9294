import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { duration, progressLine, ProgressMeter, quantity } from "../../lib/report/progress.ts";

Deno.test("a progress line shows bar, share, count, rate and time left", () => {
  assertEquals(
    progressLine({ label: "calibrate", done: 25, total: 100, unit: "layers", seconds: 50, note: "loss 2.3" }, 90),
    "calibrate  [######.....................]   25%  25/100  0.50 layers/s  ETA 2m30s  loss 2.3",
  );
  assertEquals(progressLine({ label: "train", done: 12_345, seconds: 10 }), "train  12.3k  1235/s  10s");
  assertEquals(progressLine({ label: "x", done: 0, total: 3, seconds: 0 }, 30), "x  [......]    0%  0/3  ETA --");
});

Deno.test("work done before a resumed run counts for the bar, not for the rate", () => {
  const line = progressLine({ label: "train", done: 600, before: 500, total: 1000, seconds: 100 }, 80);
  assert(line.includes(" 60%") && line.includes("1/s") && line.includes("ETA 6m40s"), line);
});

Deno.test("a progress line never exceeds its width and never throws", () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 50 }),
      fc.nat({ max: 1e9 }),
      fc.option(fc.nat({ max: 1e9 }), { nil: undefined }),
      fc.double({ min: 0, max: 1e7, noNaN: true }),
      fc.integer({ min: 0, max: 130 }),
      (label, done, total, seconds, width) => {
        const line = progressLine({ label, done, total, seconds, unit: "tokens", note: "loss 1" }, width);
        assert(line.length <= width, `${line.length} > ${width}: ${line}`);
      },
    ),
    { seed: 8, numRuns: 500 },
  );
});

Deno.test("durations and quantities are short", () => {
  assertEquals([0, 7.2, 60, 185, 7800, 270_000].map(duration), ["0s", "8s", "1m00s", "3m05s", "2h10m", "3d03h"]);
  assertEquals(duration(Infinity), "--");
  assertEquals([0, 950, 9999, 12_345, 4_510_000, 0.5, 12.34].map(quantity), [
    "0",
    "950",
    "9999",
    "12.3k",
    "4.51M",
    "0.50",
    "12.3",
  ]);
});

function meter(terminal: boolean) {
  let time = 0;
  const written: string[] = [];
  const made = new ProgressMeter({
    label: "w",
    total: 1000,
    now: () => time,
    write: (t) => written.push(t),
    terminal,
    width: () => 60,
  });
  return {
    made,
    written,
    at: (ms: number, done: number) => {
      time = ms;
      made.update(done);
    },
  };
}

Deno.test("on a terminal the meter redraws one line at most ten times a second, and ends it once", () => {
  const { made, written, at } = meter(true);
  for (let ms = 0; ms <= 1000; ms++) at(ms, ms);
  assert(written.length <= 11 && written.length >= 9, String(written.length));
  assert(written.every((text) => text.startsWith("\r") && !text.includes("\n") && text.length <= 60));
  made.finish();
  made.finish();
  made.update(5);
  assertEquals(written.filter((text) => text.endsWith("\n")).length, 1);
  assert(written.at(-1)!.includes("1000/1000"));
});

Deno.test("a shorter line wipes out the longer one before it", () => {
  const written: string[] = [];
  let time = 0;
  const made = new ProgressMeter({ label: "w", now: () => time, write: (t) => written.push(t), terminal: true });
  made.update(1, "a long note");
  time = 200;
  made.update(2, "b");
  assert(written[1].length >= written[0].length);
});

Deno.test("off a terminal the meter prints a line every ten seconds, and short work only its last", () => {
  const { made, written, at } = meter(false);
  for (let ms = 0; ms <= 35_000; ms += 100) at(ms, ms / 35);
  assertEquals(written.length, 3);
  made.finish();
  assertEquals(written.length, 4);
  assert(written.every((text) => text.endsWith("\n") && !text.includes("\r")));
  const short = meter(false);
  short.at(50, 1000);
  short.made.finish();
  assertEquals(short.written.length, 1);
});

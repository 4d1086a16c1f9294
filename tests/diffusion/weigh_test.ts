import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type Calibration, visible } from "../../lib/diffusion/mcs.ts";
import { certaintyWeighted, frontierWeighted, weighted } from "../../lib/diffusion/weigh.ts";
import { fake } from "../evaluate/fakes.ts";

const M = 9;
const windows = [[1, M, 2, M, M], [3, 4, 5, 6, 7], [M, M, M, M, M]].map((w) => Int32Array.from(w));
const calibration: Calibration = { name: "c", windows, timesteps: [0.6, 0, 1] };
/** Token 1 gains on the eight others with every position; the mask, which is never written, is likeliest. */
const { denoiser } = fake((_, position, id) => id === M ? 5 : id === 1 ? position : 0);
const confidence = (p: number) => Math.exp(p) / (Math.exp(5) + Math.exp(p) + 8);

function assertWeights({ weights }: Calibration, wanted: readonly (readonly number[])[]): void {
  assertEquals(weights!.map((w) => w.length), wanted.map((w) => w.length));
  wanted.forEach((row, w) => row.forEach((x, p) => assertAlmostEquals(weights![w][p], x, 1e-6)));
}

Deno.test("weights that need no model", () => {
  const only = weighted(calibration, "masked-only", { maskId: M });
  assertEquals(only.weights!.map((w) => [...w]), [[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]);
  assertEquals(only.name, "c+masked-only");
  const both = weighted(only, "inverse-norm");
  assertEquals(both, { ...only, name: "c+masked-only+inverse-norm", inverseNorm: true });
  assertEquals(weighted(both, "uniform"), { ...calibration, name: "c+masked-only+inverse-norm+uniform" });
  assertEquals(weighted(calibration, "uniform"), calibration);
  assertThrows(() => weighted(calibration, "masked-only"), TypeError, "pass { maskId }");
  assertThrows(() => weighted(calibration, "masked-only", { maskId: 8 }), RangeError, "none of them is 8");
  // deno-lint-ignore no-explicit-any
  assertThrows(() => weighted(calibration, "other" as any), TypeError, '"other"');
});

Deno.test("certainty: the probability of the likeliest token where masked, a constant where visible", async () => {
  for (const batch of [1, 2, 32]) {
    const found = await certaintyWeighted(denoiser, calibration, { batch });
    assertEquals(found.name, "c+certainty");
    assertWeights(found, [
      [0.7, confidence(1), 0.7, confidence(3), confidence(4)],
      [0.7, 0.7, 0.7, 0.7, 0.7],
      [0, 1, 2, 3, 4].map(confidence),
    ]);
  }
  const other = await certaintyWeighted(denoiser, calibration, { visible: 0.5 });
  assertEquals([other.name, other.weights![1][0]], ["c+certainty0.5", 0.5]);
  assert(!other.weights!.flatMap((w) => [...w]).some(Number.isNaN));
});

Deno.test("certainty: windows without masks are not run", async () => {
  const { denoiser, calls } = fake((_, position, id) => id === 1 ? position : 0);
  const visible: Calibration = { ...calibration, windows: [windows[1], windows[1]] };
  assertWeights(await certaintyWeighted(denoiser, visible), [1, 2].map(() => new Array(5).fill(0.7)));
  assertEquals(calls.length, 0);
});

Deno.test("frontier: what is written next counts more, and masked positions by their confidence", async () => {
  const found = await frontierWeighted(denoiser, calibration, { frontier: 3, confidence: 2, written: 2 });
  assertEquals(found.name, "c+frontier-3-2-n2");
  const masked = (p: number) => 1 + 2 * confidence(p);
  assertWeights(found, [
    [1, masked(1), 1, 3 + masked(3), 3 + masked(4)],
    [1, 1, 1, 1, 1],
    [masked(0), masked(1), masked(2), 3 + masked(3), 3 + masked(4)],
  ]);
  const none = await frontierWeighted(denoiser, calibration, { frontier: 0, confidence: 0 });
  assertWeights(none, windows.map(() => [1, 1, 1, 1, 1]));
});

Deno.test("wrong options and windows are refused", async () => {
  await assertRejects(() => certaintyWeighted(denoiser, calibration, { visible: 0 }), RangeError, "by 0");
  await assertRejects(() => frontierWeighted(denoiser, calibration, { frontier: -1 }), RangeError, "at least 0");
  await assertRejects(() => frontierWeighted(denoiser, calibration, { written: 0.5 }), RangeError, "0.5 tokens");
  const odd = visible({ windows: [Int32Array.of(1), Int32Array.of(1, 2)] });
  await assertRejects(() => certaintyWeighted(denoiser, odd), RangeError, "one length");
  await assertRejects(() => certaintyWeighted(denoiser, { ...odd, windows: [] }), RangeError, "one length");
});

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { divergence } from "../../lib/diffusion/divergence.ts";
import type { TextSource } from "../../lib/diffusion/text.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import type { Model } from "../../lib/model/model.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { storedBits } from "../../lib/quant/forms/decode.ts";
import { addRelativeError } from "../../lib/train/hidden_loss.ts";
import { tune } from "../../lib/tune/tune.ts";
import type { TuneProgress } from "../../lib/tune/options.ts";
import { familyConfigs, randomTokens, snapshot, tinyModel } from "../model/tiny.ts";

const TIME = 12, BATCH = 8;

const windowsOf = (seed: number, step: number) => {
  const tokens = randomTokens(BATCH * TIME, 1000 * seed + step);
  return { windows: Array.from({ length: BATCH }, (_, b) => tokens.slice(b * TIME, (b + 1) * TIME)) };
};
const text: TextSource = { name: "random", batch: BATCH, length: TIME, draw: windowsOf };

const codesOf = (model: Model) => [...model.quantized.values()].map(({ tensors }) => tensors.codes.bytes);
const bitsOf = (model: Model) => [...model.quantized.values()].map(storedBits);

for (const [name, config] of Object.entries(familyConfigs)) {
  Deno.test(`${name}: block by block, each block's error falls, and the model's divergence with it`, async () => {
    await using teacher = await tinyModel({ config });
    const calibration = simulateMasks(windowsOf(50, 0), { maskId: teacher.maskId, seed: 1 });
    const student = await quantize(teacher, levels({ bits: 2, group: 8 }), { calibration });
    const { layers } = teacher.architecture, steps = 40, told: TuneProgress[] = [], before = snapshot(student);
    const options = { by: "block", text, steps, pool: 4, seed: 1, rates: { scales: 1e-2, latents: 0.05 } } as const;
    const judge = windowsOf(7, 0);
    const onProgress = (progress: TuneProgress) => void told.push(progress);
    const result = await tune(teacher, student, { ...options, what: "codes", heldOut: { text: judge }, onProgress });
    assertEquals(told.map(({ step }) => step), Array.from({ length: layers * steps }, (_, i) => i + 1));
    for (let layer = 0; layer < layers; layer++) {
      const errors = told.slice(layer * steps, (layer + 1) * steps).map(({ hidden }) => hidden!);
      const [first, last] = [errors.slice(0, 4), errors.slice(-4)].map((e) => e.reduce((a, b) => a + b));
      assert(last < 0.9 * first, `block ${layer}: ${first} became ${last}`);
    }
    const [old, now] = [
      await divergence(teacher, student, { text: judge, seed: 1 }),
      await divergence(teacher, result, { text: judge, seed: 1 }),
    ];
    assertEquals(told.at(-1)!.heldOut, now);
    assert(now.forward + now.answers < old.forward + old.answers, JSON.stringify([old, now]));
    assertEquals([bitsOf(result), snapshot(student)], [bitsOf(student), before]);
    const scales = await tune(teacher, student, { ...options, what: "scales", steps: 3 });
    assertEquals(codesOf(scales), codesOf(student));
    assertNotEquals(codesOf(result), codesOf(student));
  });
}

Deno.test("the first block sees what the embedding gives, so its tuning does not depend on later blocks", async () => {
  await using teacher = await tinyModel();
  const student = await quantize(teacher, rtn({ bits: 2, group: 8 }));
  const options = { what: "codes", by: "block", text, steps: 5, pool: 2, seed: 1 } as const;
  const whole = await tune(teacher, student, options);
  const { names } = teacher.family;
  const later = student.with(
    new Map([...student.quantized].filter(([name]) => name.includes(names.block(0, "q").split("q")[0]))),
    {},
  );
  const part = await tune(teacher, later, options);
  const q = names.block(0, "q");
  assertEquals(part.quantized.get(q)!.tensors, whole.quantized.get(q)!.tensors);
});

Deno.test("the relative error counts tokens as it is told, and its gradient is that of the sum", () => {
  const x = { batch: 1, time: 3, data: Float32Array.of(1, 2, 0.5, -1, 3, 1) };
  const wanted = { batch: 1, time: 3, data: Float32Array.of(2, 2, 1, -1, 1, 1) };
  const counts = Float32Array.of(1, 3, 2), gradient = new Float32Array(6);
  const loss = (data: Float32Array) =>
    [0, 1, 2].reduce((sum, t) => {
      const [a, b, h, k] = [data[2 * t], data[2 * t + 1], wanted.data[2 * t], wanted.data[2 * t + 1]];
      return sum + counts[t] * ((a - h) ** 2 + (b - k) ** 2) / (h ** 2 + k ** 2);
    }, 0) / 6;
  const found = addRelativeError(x, { wanted, weight: 2, gradient, counts });
  assert(Math.abs(found - loss(x.data)) < 1e-6);
  for (let i = 0; i < 6; i++) {
    const [up, down] = [1, -1].map((sign) => loss(x.data.map((v, j) => v + (i === j ? sign * 1e-2 : 0))));
    assert(Math.abs(gradient[i] - 2 * (up - down) / 2e-2) < 1e-4, `${i}: ${gradient[i]}`);
  }
});

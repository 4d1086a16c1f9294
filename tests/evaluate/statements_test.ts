import { assert, assertEquals, assertRejects } from "@std/assert";
import { answerAccuracy, argmax, type LabelledSequence } from "../../lib/evaluate/statements.ts";
import { fake, shiftedFake } from "./fakes.ts";

/** Answers each masked position with the token before it plus one. */
const successor = (sequence: readonly number[], position: number, id: number) =>
  Number(id === sequence[position - 1] + 1);

const sequences: LabelledSequence[] = [
  // "next": 1 2 (right); "pair": 3 4 then 9 + 1: nothing is highest, so token 0, wrong.
  {
    tokens: Int32Array.of(1, 2, 3, 4, 5),
    answers: Uint8Array.of(0, 1, 0, 1, 1),
    starts: [0, 2],
    families: ["next", "pair"],
  },
  {
    tokens: Int32Array.of(7, 3, 2, 3, 0),
    answers: Uint8Array.of(0, 1, 0, 1, 1),
    starts: [0, 2],
    families: ["next", "pair"],
  },
  {
    tokens: Int32Array.of(0, 1, 4, 5, 6),
    answers: Uint8Array.of(0, 1, 0, 1, 0),
    starts: [0, 2],
    families: ["next", "next"],
  },
];

Deno.test("answers are masked together and counted by statement, token and family", async () => {
  for (const batch of [1, 2, 32]) {
    const { denoiser, calls } = fake(successor);
    const result = await answerAccuracy(denoiser, sequences, { batch });
    assertEquals(result, [
      { family: "next", n: 4, exact: 3 / 4, token: 3 / 4 },
      { family: "pair", n: 2, exact: 1 / 2, token: 3 / 4 },
      { family: "mean", n: 6, exact: 5 / 8, token: 3 / 4 },
    ]);
    assertEquals(calls.length, Math.ceil(3 / batch));
    assertEquals(calls[0].sequences[0], [1, 9, 3, 9, 9]);
    assertEquals(calls[0].rows!.slice(0, 3), [1, 3, 4]);
  }
});

Deno.test("sequences of unequal length are refused", async () => {
  const odd = {
    ...sequences[0],
    tokens: Int32Array.of(1, 2),
    answers: Uint8Array.of(0, 1),
    starts: [0],
    families: ["next"],
  };
  await assertRejects(() => answerAccuracy(fake(successor).denoiser, [...sequences, odd]), RangeError, "2 tokens");
});

Deno.test("an answer at the first position is refused where logits are shifted", async () => {
  const first = { ...sequences[0], answers: Uint8Array.of(1, 1, 0, 0, 0) };
  await assertRejects(
    () => answerAccuracy(shiftedFake(successor).denoiser, [sequences[0], first]),
    RangeError,
    "Cannot measure the answers of sequence 1: position 0 is masked",
  );
  assertEquals((await answerAccuracy(shiftedFake(successor).denoiser, sequences)).length, 3);
});

Deno.test("ties go to the lowest index", () => {
  assertEquals(argmax(Float32Array.of(9, 1, 3, 3, 2), 1, 4), 1);
  assertEquals(argmax(Float32Array.of(0, 0), 0, 2), 0);
  assert(argmax(Float32Array.of(5, 7), 1, 1) === 0);
});

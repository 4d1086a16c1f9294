import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { logProbabilities } from "../../lib/evaluate/scoring.ts";
import { LOG_PROBABILITY } from "../tolerances.ts";
import { contextual, fake, logProbability } from "./fakes.ts";

const sequence = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 3 });
const query = sequence.chain((tokens) =>
  fc.array(fc.tuple(fc.integer({ min: 0, max: tokens.length - 1 }), fc.integer({ min: 0, max: 9 })), { maxLength: 4 })
    .map((asked) => ({
      tokens: Int32Array.from(tokens),
      positions: asked.map(([p]) => p),
      ids: asked.map(([, id]) => id),
    }))
).filter(({ ids }) => ids.length > 0);

Deno.test("log-probabilities are those of each sequence alone, however they are batched", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(query, { maxLength: 12 }), fc.integer({ min: 1, max: 5 }), async (queries, batch) => {
      const { denoiser, calls } = fake(contextual);
      const results = await logProbabilities(denoiser, queries, { batch });
      queries.forEach(({ tokens, positions, ids }, i) => {
        assertEquals(results[i].length, ids.length);
        positions.forEach((p, j) => {
          const wanted = logProbability(contextual, Array.from(tokens), p, ids[j]);
          assert(Math.abs(results[i][j] - wanted) <= LOG_PROBABILITY);
        });
      });
      // Every sequence is run once, in batches that are full, and no row of it goes through the head twice.
      const run = calls.flatMap((c) => c.sequences.map(String));
      assertEquals(run.length, new Set(run).size);
      assertEquals(new Set(run), new Set(queries.map((q) => q.tokens.join())));
      const lengths = new Map<number, number>();
      for (const tokens of new Set(run)) {
        const n = tokens.split(",").length;
        lengths.set(n, (lengths.get(n) ?? 0) + 1);
      }
      assertEquals(calls.length, [...lengths.values()].reduce((s, n) => s + Math.ceil(n / batch), 0));
      for (const { rows } of calls) assertEquals(rows!.length, new Set(rows).size);
    }),
    { seed: 1, numRuns: 200 },
  );
});

Deno.test("large logits do not overflow", async () => {
  const { denoiser } = fake((_s, _p, id) => id === 3 ? 1e4 : id === 4 ? 1e4 - 1 : 0);
  const [answer] = await logProbabilities(denoiser, [{
    tokens: Int32Array.of(9),
    positions: [0, 0, 0],
    ids: [3, 4, 5],
  }]);
  const wanted = [-Math.log1p(Math.exp(-1)), -1 - Math.log1p(Math.exp(-1)), -1e4 - Math.log1p(Math.exp(-1))];
  wanted.forEach((w, i) => assert(Math.abs(answer[i] - w) <= LOG_PROBABILITY));
});

Deno.test("an abort stops between batches", async () => {
  const { denoiser, calls } = fake(contextual);
  const control = new AbortController();
  const logits = denoiser.logits;
  denoiser.logits = (tokens, options) => {
    if (calls.length === 1) control.abort(new Error("enough"));
    return logits(tokens, options);
  };
  const queries = Array.from({ length: 8 }, (_, i) => ({ tokens: Int32Array.of(i), positions: [0], ids: [0] }));
  const run = logProbabilities(denoiser, queries, { batch: 2, signal: control.signal });
  await assertRejects(() => run, Error, "enough");
  assertEquals(calls.length, 2);
});

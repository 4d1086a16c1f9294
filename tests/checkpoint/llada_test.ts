import { assert, assertEquals, assertRejects } from "@std/assert";
import { loadModel } from "../../lib/checkpoint/open.ts";
import { distance } from "../layers.ts";
import { BATCH, HIDDEN_CPU, LOGITS_CPU, LOGITS_TINY } from "../tolerances.ts";
import * as oracle from "./llada_oracle.ts";
import { referencePass } from "../model/reference.ts";
import { arraysOf, randomTokens, tinyConfig, tinyModel } from "../model/tiny.ts";

const { batch, time, vocab } = oracle;
const flat = (rows: readonly Float64Array[]) => rows.flatMap((row) => Array.from(row));

Deno.test("the oracle's logits and hidden states, on cpu", async () => {
  await using model = await loadModel(oracle.folder, { device: "cpu" });
  const tokens = await oracle.tokens();
  const { shape, data } = await model.logits(tokens, { batch });
  assertEquals(shape, [batch * time, vocab]);
  const error = distance(data, await oracle.expected("logits"));
  console.log(`llada-tiny on cpu: logits within ${error.toExponential(1)} of the oracle, tolerance ${LOGITS_CPU}`);
  assert(error <= LOGITS_CPU);

  let x = await model.embed(tokens, batch);
  assertEquals(x.data, await oracle.expected("hidden.embed"));
  for (const [layer, weights] of arraysOf(model).blocks.entries()) {
    x = await model.engine.block(x, weights);
    const off = distance(x.data, await oracle.expected(`hidden.block${layer}`));
    assert(off <= HIDDEN_CPU, `block ${layer} is off by ${off}`);
  }
});

Deno.test("our float64 loops agree with the oracle", async () => {
  await using model = await loadModel(oracle.folder, { device: "cpu" });
  const tokens = await oracle.tokens();
  const { logits, states } = referencePass(model.architecture, arraysOf(model), tokens.subarray(0, time));
  assert(distance(flat(logits), (await oracle.expected("logits")).subarray(0, time * vocab)) <= LOGITS_CPU);
  for (let layer = 0; layer < 3; layer++) {
    const wanted = (await oracle.expected(`hidden.block${layer}`)).subarray(0, time * 128);
    assert(distance(flat(states[layer + 1]), wanted) <= HIDDEN_CPU);
  }
});

Deno.test("a batch gives what its sequences give alone", async () => {
  await using model = await loadModel(oracle.folder, { device: "cpu" });
  const tokens = await oracle.tokens();
  const together = await model.logits(tokens, { batch });
  for (let i = 0; i < batch; i++) {
    const alone = await model.logits(tokens.slice(i * time, (i + 1) * time));
    assertEquals(alone.shape, [time, vocab]);
    const part = together.data.subarray(i * time * vocab, (i + 1) * time * vocab);
    const off = distance(part, alone.data);
    assert(off <= BATCH, `sequence ${i} is off by ${off}`);
  }
});

Deno.test("rows picks rows of the logits, in the order given", async () => {
  await using model = await loadModel(oracle.folder, { device: "cpu" });
  const tokens = await oracle.tokens();
  const all = await model.logits(tokens, { batch });
  const rows = Int32Array.of(95, 0, 47, 48, 3, 3);
  const picked = await model.logits(tokens, { batch, rows });
  assertEquals(picked.shape, [rows.length, vocab]);
  rows.forEach((row, i) => {
    const wanted = all.data.subarray(row * vocab, (row + 1) * vocab);
    assert(distance(picked.data.subarray(i * vocab, (i + 1) * vocab), wanted) <= BATCH);
  });
  for (const wrong of [-1, 96]) {
    const call = () => model.logits(tokens, { batch, rows: Int32Array.of(0, wrong) });
    await assertRejects(call, RangeError, `row ${wrong}`);
  }
});

Deno.test("heads that share keys and values, and odd shapes, agree with float64 loops", async () => {
  const variants = [
    { n_kv_heads: 4 },
    { n_kv_heads: 2 },
    { n_kv_heads: 1 },
    { n_kv_heads: null, multi_query_attention: true },
    { n_kv_heads: null, mlp_hidden_size: null, mlp_ratio: 3 },
    { n_heads: 1, n_kv_heads: 1, n_layers: 1, embedding_size: 29, rms_norm_eps: 0.5 },
  ];
  for (const changes of variants) {
    await using model = await tinyModel({ config: tinyConfig(changes) });
    const tokens = randomTokens(2 * 9, 5);
    const { data } = await model.logits(tokens, { batch: 2 });
    const wanted = [tokens.subarray(0, 9), tokens.subarray(9)].flatMap((t) =>
      flat(referencePass(model.architecture, arraysOf(model), t).logits)
    );
    const off = distance(data, wanted);
    assert(off <= LOGITS_TINY, `${JSON.stringify(changes)}: off by ${off}`);
  }
});

Deno.test("attention sees both directions, and positions matter", async () => {
  await using model = await tinyModel();
  const tokens = randomTokens(8, 2);
  const before = (await model.logits(tokens)).data;
  const changed = tokens.slice();
  changed[7] = (tokens[7] + 1) % 22;
  const after = (await model.logits(changed)).data;
  assert(distance(before.subarray(0, 23), after.subarray(0, 23)) > 1e-3, "position 0 does not see position 7");
  const reversed = (await model.logits(tokens.slice().reverse())).data;
  assert(distance(before.subarray(0, 23), reversed.subarray(7 * 23)) > 1e-3, "positions do not matter");
});

Deno.test("sequences and tokens out of range are refused", async () => {
  await using model = await tinyModel();
  await model.logits(randomTokens(24, 1));
  await assertRejects(() => model.logits(randomTokens(25, 1)), RangeError, "longest sequence is 24");
  for (const wrong of [-1, 23]) {
    await assertRejects(() => model.logits(Int32Array.of(0, wrong, 1)), RangeError, `token ${wrong}`);
  }
  await assertRejects(() => model.logits(new Int32Array()), RangeError, "0 tokens");
  for (const batch of [0, 2, 1.5]) {
    await assertRejects(() => model.logits(Int32Array.of(1, 2, 3), { batch }), RangeError, `batch of ${batch}`);
  }
});

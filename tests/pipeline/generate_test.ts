import { assert, assertEquals, assertRejects } from "@std/assert";
import { lladaSampler } from "../../lib/diffusion/samplers/llada.ts";
import type { Architecture } from "../../lib/model/architecture.ts";
import type { TextTokenizer } from "../../lib/model/model.ts";
import type { ChatTokenizer } from "../../lib/checkpoint/tokenizer/tokenizer.ts";
import { generate, samplerOf } from "../../lib/pipeline/generate.ts";
import { fake } from "../evaluate/fakes.ts";

/** Digits: 8 ends a text and 9 is the mask. */
const plain: TextTokenizer = {
  encode: (text) => Int32Array.from(text, Number),
  decode: (tokens) => Array.from(tokens).join(""),
};
const chat: ChatTokenizer = {
  ...plain,
  decode: (tokens, { skipSpecial = false } = {}) =>
    Array.from(tokens).filter((t) => !(skipSpecial && t === 7)).join(""),
  tokenId: () => undefined,
  eosIds: [8],
  hasChatTemplate: true,
  applyChatTemplate: (messages) =>
    messages.map(({ role, content }) => (role === "user" ? "1" : "2") + content).join("") + "2",
};

/** A model that answers position p with `answer[p]`. */
function model(tokenizer: TextTokenizer, answer: string, changes: Partial<Architecture> = {}) {
  const { denoiser, calls } = fake((_, p, id) => id === Number(answer[p] ?? 8) ? 5 + p / 10 : 0);
  const architecture = { maxLength: 24, ...changes } as Architecture;
  return { calls, model: { name: "fake", tokenizer, architecture, ...denoiser } };
}

Deno.test("the answer ends before its first end token, without special tokens", async () => {
  const { model: m } = model(chat, "145637");
  const result = await generate(m, "4", { length: 6, seed: 1 });
  assertEquals(result.prompt, "142");
  assertEquals([...result.tokens], [6, 3, 7, 8, 8, 8]);
  assertEquals([result.text, result.count, result.passes], ["63", 3, 6]);
  const long = await generate(m, "4", { length: 2, seed: 1, steps: 1 });
  assertEquals([long.text, long.count, long.passes], ["63", 2, 1]);
  const { model: mute } = model(chat, "142");
  const nothing = await generate(mute, "4", { length: 3, seed: 1 });
  assertEquals([nothing.text, nothing.count], ["", 0]);
});

Deno.test("the template is applied where there is one, never when it is switched off, and errs when it is wanted in vain", async () => {
  const asked = async (tokenizer: TextTokenizer, options: object, prompt: Parameters<typeof generate>[1] = "4") => {
    const { model: m, calls } = model(tokenizer, "");
    await generate(m, prompt, { length: 1, seed: 1, ...options });
    return calls[0].sequences[0].slice(0, -1).join("");
  };
  assertEquals(await asked(chat, {}), "142");
  assertEquals(await asked(chat, { chat: false }), "4");
  assertEquals(await asked(plain, {}), "4");
  assertEquals(await asked({ ...chat, hasChatTemplate: false } as ChatTokenizer, {}), "4");
  const talk = [{ role: "user", content: "3" }, { role: "assistant", content: "5" }, { role: "user", content: "6" }];
  assertEquals(await asked(chat, { chat: false }, talk), "1325162");
  await assertRejects(() => asked(plain, { chat: true }), Error, "for fake: its tokenizer has none");
  await assertRejects(() => asked(plain, {}, talk), Error, "for fake: its tokenizer has none");
});

Deno.test("a model with shifted logits samples as Dream does and needs a prompt; others go by LLaDA's way", async () => {
  assertEquals(samplerOf(model(plain, "").model).name, "llada");
  const { model: shifted } = model(plain, "", { logitShift: true });
  assertEquals(samplerOf(shifted).name, "dream-entropy");
  await assertRejects(() => generate(shifted, "", { length: 2, seed: 1 }), RangeError, "give a prompt");
  assertEquals((await generate(model(plain, "35").model, "", { length: 2, seed: 1 })).text, "35");
});

Deno.test("prompt and answer must fit the model, and options reach the sampler", async () => {
  const { model: m } = model(plain, "");
  const wanted = "Cannot generate 22 tokens after a prompt of 3 with fake: it reads 24 at most";
  await assertRejects(() => generate(m, "123", { length: 22, seed: 1 }), RangeError, wanted);
  await assertRejects(
    () => generate(m, "123", { length: 4, seed: 1, sampler: lladaSampler({ block: 3 }) }),
    RangeError,
    "block 3",
  );
  const seen: number[] = [];
  await generate(m, "123", { length: 4, steps: 2, seed: 1, onStep: ({ masked }) => void seen.push(masked) });
  assertEquals(seen, [2, 0]);
  assert((await generate(m, "123", { length: 21, seed: 1 })).tokens.length === 21);
});

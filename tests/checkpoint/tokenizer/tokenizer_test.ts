import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { isChatTokenizer, readTokenizer } from "../../../lib/checkpoint/tokenizer/tokenizer.ts";
import type { TextFiles } from "../../../lib/checkpoint/tokenizer/text_files.ts";

/** The letters of byte-level BPE, in code point order: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up. */
const alphabet = Array.from({ length: 324 }, (_, c) => c)
  .filter((c) => c >= 33 && c <= 126 || c >= 161 && c <= 172 || c >= 174)
  .map((c) => String.fromCharCode(c));

// deno-fmt-ignore
const merges = [
  "h e", "t he", "d e", "Ġ the", "r e", "Ġ m", "i n", "o de", "Ġ a", "a s", "a Ã", "e n", "h i", "k en", "o ken", "t oken", "Ġ in", "Ġ hi", "Ġ token",
  "de n", "Ġm ode", "Ġm as", "Ġmode l", "Ġmas k", "' s", "' re", "( )", "a f", "a in", "b e", "c ode", "c af", "d den", "e d", "f i", "g ain", "l l",
  "n d", "n aÃ", "r n", "r aÃ", "s t", "t u", "t ed",
];
const vocab = Object.fromEntries(
  [...alphabet, ...merges.map((m) => m.replace(" ", ""))].map((token, id) => [token, id]),
);
const special = [
  "<|endoftext|>",
  "<|im_start|>",
  "<|im_end|>",
  "<|mask|>",
  "<|begin_of_text|>",
  "<|start_header_id|>",
  "<|end_header_id|>",
  "<|eot_id|>",
].map((content, i) => ({ id: 300 + i, content, special: true, normalized: false }));

/** Ids and text back by the tokenizers library for Python (0.23.2), on this vocabulary with Qwen2's pattern and NFC. */
const oracle: [string, number[], string?][] = [
  ["the model's mask", [257, 278, 280, 279]],
  [
    "They'RE 1234 cafe\u0301!\r\n\n  x",
    [51, 256, 88, 6, 49, 36, 220, 16, 17, 18, 19, 220, 287, 127, 102, 0, 201, 198, 198, 220, 220, 87],
    "They'RE 1234 caf\u00e9!\r\n\n  x",
  ],
  ["<|im_start|>user\nhi<|im_end|>\n<|mask|><|mask|>", [301, 84, 82, 68, 81, 198, 268, 302, 198, 303, 303]],
  ["你好 🙂 straße", [160, 121, 254, 161, 98, 121, 220, 172, 253, 247, 224, 220, 297, 296, 253, 68]],
  ["  \t trailing   ", [220, 220, 197, 220, 83, 81, 64, 72, 75, 262, 70, 220, 220, 220]],
  ["it'S they'd we'LL", [72, 83, 6, 50, 259, 88, 6, 67, 220, 86, 68, 6, 43, 43]],
];

/** A folder in memory. */
function files(contents: Record<string, string | object>): TextFiles {
  const text = (file: string) => {
    const value = contents[file];
    return Promise.resolve(typeof value === "string" ? value : JSON.stringify(value));
  };
  return {
    name: "some/model",
    has: (file) => Promise.resolve(file in contents),
    readText: text,
    readJson: async (file) => JSON.parse(await text(file)),
  };
}

const read = async (contents: Record<string, string | object>) => {
  const tokenizer = await readTokenizer(files(contents));
  if (tokenizer) return tokenizer;
  throw new Error("no tokenizer");
};

/** A Dream-like checkpoint: no tokenizer.json. */
const dream = (settings: object = {}) => ({
  "vocab.json": vocab,
  "merges.txt": ["#version: 0.2", ...merges, ""].join("\n"),
  "tokenizer_config.json": {
    tokenizer_class: "DreamTokenizer",
    added_tokens_decoder: Object.fromEntries(special.map((token) => [token.id, token])),
    eos_token: "<|endoftext|>",
    mask_token: { content: "<|mask|>", special: true },
    ...settings,
  },
});

/** A tokenizer.json of WordLevel, as Llama 3 would add its special tokens; the post-processor adds a bos that templates write themselves. */
const wordLevel = (settings: object = {}, model: object = {}) => ({
  "tokenizer.json": {
    added_tokens: special,
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<|begin_of_text|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { "<|begin_of_text|>": { id: "<|begin_of_text|>", ids: [304], tokens: ["<|begin_of_text|>"] } },
    },
    decoder: null,
    model: {
      type: "WordLevel",
      vocab: { hi: 0, there: 1, user: 2, assistant: 3, "<unk>": 4 },
      unk_token: "<unk>",
      ...model,
    },
  },
  "tokenizer_config.json": {
    bos_token: "<|begin_of_text|>",
    eos_token: "<|endoftext|>",
    unk_token: "<unk>",
    ...settings,
  },
});

/** Llama 3's format, written anew. The lines of blocks must leave no blank lines, as transformers has it. */
const llama3 = `{% for message in messages %}
    {% if loop.first %}
{{ bos_token }}
    {%- endif %}
<|start_header_id|>{{ message.role }}<|end_header_id|>{{ "\\n\\n" + message["content"] | trim }}<|eot_id|>
    {%- if message.role not in ["system", "user", "assistant"] %}{{ raise_exception("no role " + message.role) }}{% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|start_header_id|>assistant<|end_header_id|>{{ "\\n\\n" }}
{%- endif %}`;

const conversation = [{ role: "user", content: "  hi there \n" }];

Deno.test("vocab.json and merges.txt make the tokenizer of their class, as the reference library computes it", async () => {
  const tokenizer = await read(dream());
  for (const [text, ids, back] of oracle) {
    assertEquals(Array.from(tokenizer.encode(text)), ids, text);
    assertEquals(tokenizer.decode(ids), back ?? text);
  }
  assertEquals(tokenizer.maskId, 303);
  assertEquals(tokenizer.tokenId("<|mask|>"), 303);
  assertEquals(tokenizer.tokenId("<|no such|>"), undefined);
  const listed: Record<string, unknown> = { ...dream({ added_tokens_decoder: undefined }) };
  listed["added_tokens.json"] = Object.fromEntries(special.map(({ content, id }) => [content, id]));
  const other = await read(listed as Record<string, object>);
  for (const [text, ids] of oracle) assertEquals(Array.from(other.encode(text)), ids, text);
});

Deno.test("byte-level text comes back whole, and ids without a token do not tear its characters", async () => {
  const tokenizer = await read(dream());
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      assertEquals(tokenizer.decode(tokenizer.encode(text)), text.normalize("NFC"));
    }),
    { seed: 1, numRuns: 200 },
  );
  const code = "f (x) . y , z ! it 's";
  assertEquals(tokenizer.decode(tokenizer.encode(code)), code);
  const tidy = await read(dream({ clean_up_tokenization_spaces: true }));
  assertEquals(tidy.decode(tidy.encode(code)), "f (x). y, z! it's");
  assertEquals(tokenizer.decode([]), "");
  assertEquals(tokenizer.decode([9999, ...tokenizer.encode("🙂"), 9999, 9998]), "\uFFFD🙂\uFFFD\uFFFD");
});

Deno.test("special tokens are found in chat text, left out of the answer on demand, and the ends of a text are known", async () => {
  const tokenizer = await read({ ...dream(), "generation_config.json": { eos_token_id: [300, 290] } });
  assertEquals(tokenizer.eosIds, [300, 290, 307, 302]);
  const ids = [301, 257, 303, 302, 300];
  assertEquals(tokenizer.decode(ids), "<|im_start|>the<|mask|><|im_end|><|endoftext|>");
  assertEquals(tokenizer.decode(ids, { skipSpecial: true }), "the");
  assertEquals(tokenizer.decode([300], { skipSpecial: true }), "");
});

Deno.test("the chat template is applied as shipped, and its bos is the only one", async () => {
  const wanted = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi there<|eot_id|>" +
    "<|start_header_id|>assistant<|end_header_id|>\n\n";
  const tool = { name: "tool_use", template: "wrong" };
  for (
    const contents of [
      wordLevel({ chat_template: llama3 }),
      wordLevel({ chat_template: [tool, { name: "default", template: llama3 }] }),
      { ...wordLevel(), "chat_template.json": { chat_template: llama3 } },
      { ...wordLevel({ chat_template: "wrong" }), "chat_template.jinja": llama3 },
    ]
  ) {
    const tokenizer = await read(contents);
    assert(isChatTokenizer(tokenizer) && tokenizer.hasChatTemplate);
    const text = tokenizer.applyChatTemplate(conversation);
    assertEquals(text, wanted);
    assertEquals(Array.from(tokenizer.encode(text)), [304, 305, 2, 306, 0, 1, 307, 305, 3, 306]);
    const closed = tokenizer.applyChatTemplate(conversation, { addGenerationPrompt: false });
    assertEquals(closed + "<|start_header_id|>assistant<|end_header_id|>\n\n", wanted);
  }
});

Deno.test("no template, a template that refuses and one that is none are named", async () => {
  const none = await read(wordLevel());
  assertEquals(none.hasChatTemplate, false);
  assertThrows(() => none.applyChatTemplate(conversation), Error, "some/model: none of its files has one");
  const refusing = await read(wordLevel({ chat_template: llama3 }));
  assertThrows(
    () => refusing.applyChatTemplate([{ role: "tool", content: "" }]),
    RangeError,
    "some/model: no role tool",
  );
  for (
    const [chat_template, message] of [
      ["{% if %}", "chat_template is no Jinja template"],
      [[{ name: "tool_use", template: "" }], "templates named tool_use"],
      [3, "chat_template is 3"],
    ] as const
  ) {
    await assertRejects(() => read(wordLevel({ chat_template })), SyntaxError, message);
  }
});

Deno.test("a checkpoint without tokenizer gives none; one that cannot be read is named with the remedy", async () => {
  assertEquals(await readTokenizer(files({ "config.json": {} })), undefined);
  await assertRejects(() => read({ "tokenizer.model": "" }), RangeError, "some/model/tokenizer.model: SentencePiece");
  await assertRejects(() => read({ ...dream({ tokenizer_class: "BertTokenizer" }) }), RangeError, '"BertTokenizer"');
  await assertRejects(() => read({ ...dream(), "merges.txt": "a b\nab" }), SyntaxError, 'merge 2 is "ab"');
  await assertRejects(() => read(wordLevel({}, { type: "Wordy" })), RangeError, 'model.type is "Wordy"');
  await assertRejects(() => read({ "tokenizer.json": {} }), RangeError, "model.type is undefined");
  const broken = { ...wordLevel(), "tokenizer.json": { model: { type: "BPE" } } };
  await assertRejects(() => read(broken), SyntaxError, "some/model/tokenizer.json");
});

Deno.test("a word without an id is an error where the vocabulary has no unknown token, never id 0", async () => {
  const known = await read(wordLevel());
  assertEquals(Array.from(known.encode("hi stranger")), [0, 4]);
  const closed = await read(wordLevel({ unk_token: undefined }, { unk_token: undefined, vocab: { hi: 0 } }));
  assertThrows(() => closed.encode("hi stranger"), RangeError, "stranger");
});

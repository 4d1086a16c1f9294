/** The tokenizer of NanoWorld in the files of the Hugging Face libraries: one token a word, words separated by white space. */

import { EOS_ID, MASK_ID, UNKNOWN_ID, VOCABULARY } from "./vocabulary.ts";

/** The contents of `tokenizer.json`: a WordLevel model behind a white-space splitter; the three special words are never split. */
export function tokenizerJson(): Readonly<Record<string, unknown>> {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [EOS_ID, MASK_ID, UNKNOWN_ID].map((id) => ({
      id,
      content: VOCABULARY[id],
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: null,
    decoder: null,
    model: {
      type: "WordLevel",
      vocab: Object.fromEntries(VOCABULARY.map((word, id) => [word, id])),
      unk_token: VOCABULARY[UNKNOWN_ID],
    },
  };
}

/** The contents of `tokenizer_config.json`. */
export function tokenizerConfigJson(): Readonly<Record<string, unknown>> {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    clean_up_tokenization_spaces: false,
    eos_token: VOCABULARY[EOS_ID],
    pad_token: VOCABULARY[EOS_ID],
    mask_token: VOCABULARY[MASK_ID],
    unk_token: VOCABULARY[UNKNOWN_ID],
  };
}

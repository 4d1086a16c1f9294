/** Tokenizers without a tokenizer.json: what their class would build from vocab.json and merges.txt. */
import type { TextFiles } from "./text_files.ts";

/** How Qwen2's byte-level BPE cuts text into words before it merges (tokenization_qwen2.py of transformers); Dream's is the same. */
const qwenWords = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*` +
  String.raw`|\s*[\r\n]+|\s+(?!\S)|\s+`;

/** The words' pattern by `tokenizer_class`; all are byte-level BPE on NFC text. */
const wordPatterns: Readonly<Record<string, string>> = {
  DreamTokenizer: qwenWords,
  Qwen2Tokenizer: qwenWords,
  Qwen2TokenizerFast: qwenWords,
};

interface AddedToken {
  readonly content: string;
  readonly special?: boolean;
}

/**
 * What would stand in tokenizer.json, from vocab.json, merges.txt and the added tokens of tokenizer_config.json or added_tokens.json; undefined when
 * there are no such files. Throws `RangeError` for a `tokenizer_class` that is not in the table and for a checkpoint with a SentencePiece model only.
 */
export async function tokenizerFromVocabulary(
  files: TextFiles,
  settings: Record<string, unknown>,
): Promise<Record<string, unknown> | undefined> {
  const convert = "save the tokenizer of the checkpoint with transformers " +
    "(AutoTokenizer.from_pretrained(...).save_pretrained(...)), which writes a tokenizer.json, into the folder";
  if (!await files.has("vocab.json") || !await files.has("merges.txt")) {
    for (const file of ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"]) {
      if (!await files.has(file)) continue;
      throw new RangeError(`Cannot read ${files.name}/${file}: SentencePiece models are not read; ${convert}`);
    }
    return undefined;
  }
  const pattern = wordPatterns[String(settings.tokenizer_class)];
  if (pattern === undefined) {
    const known = Object.keys(wordPatterns).join(", ");
    throw new RangeError(
      `Cannot read ${files.name}/vocab.json: there is no tokenizer.json and tokenizer_class is ` +
        `${JSON.stringify(settings.tokenizer_class)}, known without one are ${known}; ${convert}`,
    );
  }
  const merges = (await files.readText("merges.txt")).split("\n").map((line) => line.trim())
    .filter((line, i) => line !== "" && !(i === 0 && line.startsWith("#version")));
  const odd = merges.findIndex((line) => line.split(" ").length !== 2);
  if (odd >= 0) {
    throw new SyntaxError(
      `Cannot read ${files.name}/merges.txt: merge ${odd + 1} is ${JSON.stringify(merges[odd])}, ` +
        "wanted two tokens; fetch the file again",
    );
  }
  return {
    added_tokens: await addedTokens(files, settings),
    normalizer: { type: "NFC" },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: { type: "BPE", vocab: await files.readJson("vocab.json"), merges: merges.map((line) => line.split(" ")) },
  };
}

/** The added tokens with their ids: `added_tokens_decoder` (id to token) or added_tokens.json (text to id, all of them special). */
async function addedTokens(files: TextFiles, settings: Record<string, unknown>): Promise<Record<string, unknown>[]> {
  const decoder = settings.added_tokens_decoder as Record<string, AddedToken> | undefined;
  if (decoder) return Object.entries(decoder).map(([id, token]) => ({ ...token, id: Number(id) }));
  if (!await files.has("added_tokens.json")) return [];
  return Object.entries(await files.readJson("added_tokens.json")).map(([content, id]) => ({
    id,
    content,
    special: true,
    normalized: false,
  }));
}

/** The tokenizer of a checkpoint: text to ids and back, its special tokens by name, and the chat template that it ships. */
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import type { TextTokenizer } from "../../model/model.ts";
import type { TextFiles } from "./text_files.ts";
import { tokenizerFromVocabulary } from "./vocabulary.ts";

/** One turn of a conversation. */
export interface ChatMessage {
  /** "system", "user" or "assistant" in most templates. */
  readonly role: string;
  readonly content: string;
}

/** What a checkpoint's tokenizer knows beyond its vocabulary. */
export interface ChatTokenizer extends TextTokenizer {
  /** With `skipSpecial`, special tokens leave no text. An id that the tokenizer does not know becomes U+FFFD. */
  decode(tokens: ArrayLike<number>, options?: { readonly skipSpecial?: boolean }): string;
  /** The id of a token by its text: "<|mask|>". */
  tokenId(token: string): number | undefined;
  /** The id of the mask token that the tokenizer's files declare, else of one with a mask's name: for checkpoints whose config has none. */
  readonly maskId?: number;
  /** Ids that end a text: the end-of-text token first, then those of generation_config.json and the end-of-turn token. */
  readonly eosIds: readonly number[];
  readonly hasChatTemplate: boolean;
  /** The template's text, where there is one. */
  readonly chatTemplate?: string;
  /**
   * The conversation as the text that the model was trained on, special tokens and all: encode it as it is (`encode` adds nothing and knows special
   * tokens). With `addGenerationPrompt` (the default) it ends where the assistant's answer begins. Throws `Error` when the checkpoint ships no
   * template, `RangeError` when the template refuses the messages.
   */
  applyChatTemplate(messages: readonly ChatMessage[], options?: { readonly addGenerationPrompt?: boolean }): string;
}

/** Whether a tokenizer came from a checkpoint, with all that its files say. */
export const isChatTokenizer = (tokenizer: TextTokenizer): tokenizer is ChatTokenizer =>
  "applyChatTemplate" in tokenizer;

/** End-of-turn tokens of the known chat formats (Llama 3, ChatML, LLaDA-MoE): an end of text where a vocabulary holds one. */
const endsOfTurn = ["<|eot_id|>", "<|im_end|>", "<|role_end|>"];

/** What masks are called in the vocabularies of masked diffusion models, in the order in which they are looked for. */
const maskNames = ["<|mask|>", "<|mdm_mask|>", "|<MASK>|", "[MASK]", "<mask>"];

/** Model types of tokenizer.json that the library computes. */
const modelTypes = ["BPE", "Unigram", "WordPiece", "WordLevel"];

/**
 * Reads the tokenizer of a checkpoint: tokenizer.json, or vocab.json with merges.txt where their class is known (Dream ships no tokenizer.json);
 * undefined when the checkpoint holds none at all. Throws `SyntaxError` for files that make no tokenizer, `RangeError` for one that this kit does not
 * compute, both naming the file.
 */
export async function readTokenizer(
  files: TextFiles,
  onNotice: (notice: string) => void = () => {},
): Promise<ChatTokenizer | undefined> {
  const optional = async (file: string) => await files.has(file) ? await files.readJson(file) : {};
  const settings = await optional("tokenizer_config.json");
  const file = `${files.name}/tokenizer.json`;
  const given = await files.has("tokenizer.json")
    ? await files.readJson("tokenizer.json")
    : await tokenizerFromVocabulary(files, settings);
  if (given === undefined) return undefined;
  const model = { ...(given.model as Record<string, unknown> | undefined) }, type = model.type ?? kindOf(model);
  const definition = { ...given, model: { ...model, type } };
  if (!modelTypes.includes(String(type))) {
    const known = modelTypes.join(", ");
    throw new RangeError(`Cannot read ${file}: model.type is ${JSON.stringify(type)}, this kit computes ${known}`);
  }
  let inner: Tokenizer;
  try {
    // Unless the files ask for it, decoding does not tidy up spaces: code and byte-level text would not come back as they were.
    inner = new Tokenizer(definition, { clean_up_tokenization_spaces: false, ...settings });
  } catch (error) {
    throw new SyntaxError(
      // A library that trips over what it did not expect says so in words of its own code.
      `Cannot read ${file}: ${
        error instanceof TypeError ? "a part of it is missing or of another kind than it should be" : messageOf(error)
      }; fetch the tokenizer's files of the checkpoint again`,
    );
  }
  const tokens = { ...specialTokens(await optional("special_tokens_map.json")), ...specialTokens(settings) };
  const idOf = (token: string | undefined) => token === undefined ? undefined : inner.token_to_id(token);
  // No one needs that file to calibrate or to quantise.
  const generated = await optional("generation_config.json").catch((error) => {
    onNotice(`${messageOf(error)}; its end tokens are left out`);
    return {} as Record<string, unknown>;
  });
  const generation = [generated.eos_token_id ?? []].flat();
  const ends = [idOf(tokens.eos_token), ...generation, ...endsOfTurn.map(idOf)];
  const { template, text: chatTemplate } = await readTemplate(files, settings);
  const special = new Set(
    [...inner.get_added_tokens_decoder().values()].filter((token) => token.special).map((token) => token.id),
  );
  return {
    maskId: idOf(tokens.mask_token) ?? maskNames.map(idOf).find((id) => id !== undefined),
    eosIds: [...new Set(ends)].filter((id) => Number.isInteger(id)) as number[],
    hasChatTemplate: template !== undefined,
    ...(chatTemplate === undefined ? {} : { chatTemplate }),
    tokenId: idOf,
    encode(text) {
      const { ids, tokens } = inner.encode(text, { add_special_tokens: false });
      const unknown = ids.findIndex((id) => !Number.isInteger(id));
      if (unknown < 0) return Int32Array.from(ids);
      const token = JSON.stringify(tokens[unknown]);
      throw new RangeError(`Cannot encode with ${file}: it has no id for ${token} and no unknown token`);
    },
    decode(ids, { skipSpecial = false } = {}) {
      const kept = Array.from(ids).filter((id) => !(skipSpecial && special.has(id)));
      // Vocabularies of models are padded beyond those of their tokenizers, so a sampler may draw an id without a text.
      let text = "", run: number[] = [];
      const flush = () => {
        if (run.length > 0) text += inner.decode(run);
        run = [];
      };
      for (const id of kept) {
        if (inner.id_to_token(id) !== undefined) run.push(id);
        else flush(), text += "\uFFFD";
      }
      flush();
      return text;
    },
    applyChatTemplate(messages, { addGenerationPrompt = true } = {}) {
      if (template === undefined) {
        throw new Error(
          `Cannot apply a chat template for ${files.name}: none of its files has one (tokenizer_config.json, ` +
            "chat_template.jinja, chat_template.json); prompt it with plain text",
        );
      }
      try {
        return template.render({ ...tokens, messages, add_generation_prompt: addGenerationPrompt });
      } catch (error) {
        throw new RangeError(`Cannot apply the chat template of ${files.name}: ${messageOf(error)}`);
      }
    },
  };
}

/** The type of a model of tokenizer.json that does not name it, as early ones do not: by the parts that it has. */
function kindOf({ vocab, merges, max_input_chars_per_word }: Record<string, unknown>): string | undefined {
  if (Array.isArray(merges)) return "BPE";
  if (Array.isArray(vocab)) return "Unigram";
  if (max_input_chars_per_word !== undefined) return "WordPiece";
  return typeof vocab === "object" && vocab !== null ? "WordLevel" : undefined;
}

/** The special tokens by role, `eos_token` and so on, as text. They stand in the files as text or as `{ content }`. */
function specialTokens(settings: Record<string, unknown>): Record<string, string> {
  const entries = Object.entries(settings).flatMap(([role, token]): [string, string][] => {
    const text = typeof token === "object" && token !== null ? (token as { content?: unknown }).content : token;
    return role.endsWith("_token") && typeof text === "string" ? [[role, text]] : [];
  });
  return Object.fromEntries(entries);
}

/** The chat template: chat_template.jinja, else the field of tokenizer_config.json, else chat_template.json; of several, the one named "default". */
async function readTemplate(
  files: TextFiles,
  settings: Record<string, unknown>,
): Promise<{ readonly template?: Template; readonly text?: string }> {
  let file = "tokenizer_config.json";
  let source = settings.chat_template;
  if (await files.has("chat_template.jinja")) {
    file = "chat_template.jinja";
    source = await files.readText(file);
  } else if (source == null && await files.has("chat_template.json")) {
    file = "chat_template.json";
    source = (await files.readJson(file)).chat_template;
  }
  if (source == null) return {};
  const named = Array.isArray(source) ? source as readonly { name?: unknown; template?: unknown }[] : undefined;
  const text = named ? named.find(({ name }) => name === "default")?.template : source;
  if (typeof text !== "string") {
    const found = named ? `templates named ${named.map(({ name }) => name).join(", ")}` : JSON.stringify(source);
    throw new SyntaxError(
      `Cannot read ${files.name}/${file}: chat_template is ${found}, wanted text or a list with a "default"`,
    );
  }
  try {
    return { template: new Template(text), text };
  } catch (error) {
    throw new SyntaxError(`Cannot read ${files.name}/${file}: chat_template is no Jinja template: ${messageOf(error)}`);
  }
}

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error);

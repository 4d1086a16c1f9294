/** The files of a checkpoint that go with its weights wherever they go. */
import { join } from "@std/path";
import { writeFile } from "../files/shard_writer.ts";

/** Neither weights nor config: tokenizer, generation settings, licence, and the code of models that bring their own. */
export const companions = [
  /^(generation_config|special_tokens_map|added_tokens|vocab)\.json$/,
  /^tokenizer[\w.-]*$/,
  /^chat_template[\w.-]*$/,
  /^merges\.txt$/,
  /^(LICENSE|NOTICE)(\.\w+)?$/,
  /^(configuration|modeling|tokenization|generation)\w*\.py$/,
];

/** Copies them from the folder `dir` to the folder `out`; gives their names, sorted. */
export async function copyCompanions(
  dir: string,
  out: string,
  options?: { readonly signal?: AbortSignal },
): Promise<string[]> {
  const found = (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort();
  const files = found.filter((file) => companions.some((pattern) => pattern.test(file)));
  for (const file of files) {
    const { readable } = await Deno.open(join(dir, file));
    await writeFile(join(out, file), readable, options);
  }
  return files;
}

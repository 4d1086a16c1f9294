/** The files of a checkpoint that go with its weights wherever they go. */
import { dirname, join } from "@std/path";
import { ifThere } from "../files/file_source.ts";
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

/** What a tokenizer and its ends of text are made of: taken along also where the user's folder holds links to it. */
const needed =
  /^((tokenizer(_config)?|vocab|added_tokens|special_tokens_map|generation_config|chat_template)\.json|merges\.txt|chat_template\.jinja)$/;

/**
 * Copies them from the folder `dir` to the folder `out`; gives their names, sorted. What no one needs is left behind where it is no file, or a link that
 * leads out of the folder (and not to a blob of the same download).
 */
export async function copyCompanions(
  dir: string,
  out: string,
  options?: { readonly signal?: AbortSignal },
): Promise<string[]> {
  const found = (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort();
  const root = await Deno.realPath(dir), blobs = join(dirname(dirname(root)), "blobs"), files: string[] = [];
  for (const file of found.filter((file) => companions.some((pattern) => pattern.test(file)))) {
    const real = await ifThere(Deno.realPath(join(dir, file)));
    if (real === undefined || !(await Deno.stat(real)).isFile) continue;
    if (!needed.test(file) && ![root, blobs].includes(dirname(real))) continue;
    files.push(file);
  }
  for (const file of files) {
    const { readable } = await Deno.open(join(dir, file));
    await writeFile(join(out, file), readable, options);
  }
  return files;
}

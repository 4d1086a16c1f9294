/** What an arm of `reproduce` depends on beside its options, as digests: another model, edited data or edited code is another arm. */
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { type ArmInputs, openSource, type Task, version } from "quant-dllm";

export interface InputsOptions {
  /** Folder or Hub id. */
  readonly model: string;
  readonly device: string;
  /** The file that calibration windows are drawn from, and their tokens. */
  readonly corpus: string;
  readonly length: number;
  readonly tasks: readonly Task[];
}

/** The inputs of arms. A task is known by the file of its items: throws `RangeError` for one that names none. */
export async function armInputs({ model, device, corpus, length, tasks }: InputsOptions): Promise<ArmInputs> {
  const ofTask = async ({ id, data }: Task) => {
    if (data === undefined) throw new RangeError(`Cannot tell what the task "${id}" is of: it names no file`);
    return [id, short(await digest(data))];
  };
  return {
    code: await codeVersion(),
    device,
    model: await modelDigest(model),
    corpus: `${short(await digest(corpus))}x${length}`,
    tasks: Object.fromEntries(await Promise.all(tasks.map(ofTask))),
  };
}

/**
 * The version of the library with a digest of what its numbers come from: the files of lib, and the packages that they import. Tables and figures
 * (lib/report) are made from the numbers and may change without them.
 */
export async function codeVersion(root = fileURLToPath(new URL("..", import.meta.url))): Promise<string> {
  const { imports } = JSON.parse(await Deno.readTextFile(`${root}/deno.json`));
  const files = (await filesBelow(`${root}/lib`, /\.ts$/)).filter((path) => !path.startsWith("report/"));
  return `${version}+${await digestOfAll(`${root}/lib`, files, JSON.stringify(imports))}`;
}

/** Of the files of a checkpoint that are read: config, weights, tokenizer. */
async function modelDigest(location: string): Promise<string> {
  const { dir } = await openSource(location);
  return await digestOfAll(dir, await filesBelow(dir, /\.(json|safetensors|txt|jinja|model)$/));
}

/** Paths, from the folder, of all files below it whose names match, sorted. */
async function filesBelow(folder: string, names: RegExp): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) found.push(...(await filesBelow(`${folder}/${name}`, names)).map((path) => `${name}/${path}`));
    else if (names.test(name)) found.push(name);
  }
  return found.sort();
}

/** One digest of files by their paths and contents, and of a text. */
async function digestOfAll(folder: string, paths: readonly string[], text = ""): Promise<string> {
  const lines = await Promise.all(paths.map(async (path) => `${path} ${await digest(`${folder}/${path}`)}`));
  return short(createHash("sha256").update([...lines, text].join("\n")).digest("hex"));
}

/** SHA-256 of a file, in hex; read as a stream, since weights may be large. */
async function digest(file: string | URL): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of (await Deno.open(file)).readable) hash.update(chunk);
  return hash.digest("hex");
}

const short = (hex: string) => hex.slice(0, 12);

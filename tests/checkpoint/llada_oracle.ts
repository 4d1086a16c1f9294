/** The oracle of the LLaDA forward pass (see tests/oracles/README.md), read without the library's model floor. */
import { memorySource } from "../../lib/format/byte_source.ts";
import { openSafetensors } from "../../lib/format/safetensors.ts";

/** The checkpoint folder. */
export const folder = decodeURIComponent(new URL("../oracles/llada-tiny", import.meta.url).pathname);

export const batch = 2, time = 48, vocab = 320;

/** `[2, 48]`, flat. */
export async function tokens(): Promise<Int32Array> {
  const bytes = await (await open("inputs")).read("input_ids");
  return Int32Array.from(new BigInt64Array(bytes.buffer, bytes.byteOffset, batch * time), Number);
}

/** `logits` `[2, 48, 320]`, or `hidden.embed`, `hidden.block0..2` (output of each block), `hidden.final_norm` `[2, 48, 128]`, flat. */
export async function expected(name: string): Promise<Float32Array> {
  return await (await open("expected")).readFloat(name);
}

async function open(name: string) {
  const file = `${name}.safetensors`;
  return await openSafetensors(memorySource(file, await Deno.readFile(`${folder}/${file}`)));
}

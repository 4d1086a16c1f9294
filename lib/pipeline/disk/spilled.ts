/** Hidden states on disk, as fp16: memory holds one part, and a run that is killed goes on from the last half block that all parts passed. */
import { join } from "@std/path";
import { floatToHalf, halfToFloat } from "../../tensor/half.ts";
import type { Hidden } from "../../model/engine.ts";
import { ifThere, writeFileAtomic } from "../../checkpoint/files/file_source.ts";
import type { Model } from "../../model/model.ts";
import type { HiddenStates, Slices } from "../hidden.ts";

/** Bytes before the numbers of a part: batch, time, width and exponent as int32. */
const HEADER = 16;

/** Opens the states in the folder `dir`, `dir/PASSED/PART`; embeds the windows when there are none yet. Stops between parts; what was written stays. */
export async function spilledStates(
  model: Model,
  slices: Slices,
  { dir, signal }: { readonly dir: string; readonly signal?: AbortSignal },
): Promise<HiddenStates> {
  const { parts } = slices;
  const folder = (passed: number) => join(dir, String(passed));
  const file = (passed: number, part: number) => join(folder(passed), `${part}.states`);
  const write = (passed: number, part: number, x: Hidden) => writeFileAtomic(file(passed, part), encodeStates(x));
  let passed = await lastComplete(dir, parts.length, file) ?? 0;
  await Deno.mkdir(folder(passed), { recursive: true });
  for (const [i, { tokens, count }] of passed === 0 ? parts.entries() : []) {
    if (await exists(file(0, i))) continue;
    signal?.throwIfAborted();
    await write(0, i, await model.embed(tokens, count));
  }
  const get = async (part: number) => decodeStates(await Deno.readFile(file(passed, part)), file(passed, part));
  return {
    ...slices,
    get passed() {
      return passed;
    },
    get,
    async advance(step) {
      await Deno.mkdir(folder(passed + 1), { recursive: true });
      let lent = new Float32Array(0);
      for (const i of parts.keys()) {
        if (await exists(file(passed + 1, i))) continue;
        signal?.throwIfAborted();
        const x = await get(i);
        if (lent.length !== x.data.length) lent = new Float32Array(x.data.length);
        await write(passed + 1, i, await step(x, lent));
      }
      passed++;
      await Deno.remove(folder(passed - 1), { recursive: true });
    },
  };
}

/** Bytes of one part on disk. */
export const statesBytes = (tokens: number, width: number): number => HEADER + 2 * tokens * width;

/** The chunks of a file: header, then fp16 of x · 2^-exponent, the exponent chosen so that the largest number fits. */
export function encodeStates({ batch, time, data }: Hidden): Uint8Array[] {
  let largest = 0;
  for (const x of data) {
    const size = Math.abs(x);
    if (size > largest) largest = size;
    else if (Number.isNaN(x)) {
      throw new RangeError("Cannot store hidden states: they hold NaN; the weights are damaged");
    }
  }
  if (largest === Infinity) throw new RangeError("Cannot store hidden states: they overflow; the weights are damaged");
  const exponent = largest > 32768 ? Math.ceil(Math.log2(largest)) - 15 : 0;
  const scaled = exponent === 0 ? data : data.map((x) => x * 2 ** -exponent);
  const header = Int32Array.of(batch, time, data.length / (batch * time), exponent);
  const words = floatToHalf(scaled);
  return [new Uint8Array(header.buffer), new Uint8Array(words.buffer, words.byteOffset, words.byteLength)];
}

/** Reads what `encodeStates` wrote. Throws `SyntaxError` when it is damaged. */
export function decodeStates(bytes: Uint8Array<ArrayBuffer>, path: string): Hidden {
  const [batch, time, width, exponent] = bytes.length >= HEADER ? new Int32Array(bytes.buffer, 0, 4) : [0, 0, 0, 0];
  if (!(batch > 0 && time > 0 && width > 0) || bytes.length !== statesBytes(batch * time, width)) {
    throw new SyntaxError(`Cannot read ${path}: it holds no hidden states; remove its folder and run again`);
  }
  const data = halfToFloat(new Uint16Array(bytes.buffer, HEADER));
  if (exponent !== 0) { for (let i = 0; i < data.length; i++) data[i] *= 2 ** exponent; }
  return { batch, time, data };
}

/** The furthest half block that all parts have passed. */
async function lastComplete(
  dir: string,
  parts: number,
  file: (passed: number, part: number) => string,
): Promise<number | undefined> {
  const entries = await ifThere(Array.fromAsync(Deno.readDir(dir))) ?? [];
  const found = entries.map(({ name }) => name).filter((name) => /^\d+$/.test(name)).map(Number);
  for (const passed of found.sort((a, b) => b - a)) {
    let complete = true;
    for (let i = 0; complete && i < parts; i++) complete = await exists(file(passed, i));
    if (!complete) continue;
    for (const older of found.filter((p) => p < passed)) {
      await Deno.remove(join(dir, String(older)), { recursive: true });
    }
    return passed;
  }
  return undefined;
}

const exists = async (path: string): Promise<boolean> => await ifThere(Deno.stat(path)) !== undefined;

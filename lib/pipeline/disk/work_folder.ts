/** The work folder of a quantisation: one file per finished linear, with the fingerprint of all that went into it, and a lock. */
import { join } from "@std/path";
import { createHash } from "node:crypto";
import { encodeSafetensors, openSafetensors, type TensorBytes } from "../../format/safetensors.ts";
import type { StoredTensor } from "../../quant/method.ts";
import type { Matrix } from "../../tensor/matrix.ts";
import { fileSource, ifThere, writeFileAtomic } from "../../checkpoint/files/file_source.ts";
import type { Finished } from "../store.ts";

/** What a run is of: two runs may share a work folder only where all of this is equal. */
export type RunIdentity = Readonly<Record<string, string | number | boolean>>;

export class WorkFolder implements AsyncDisposable {
  private constructor(readonly dir: string, readonly identity: RunIdentity, readonly lock: Deno.FsFile) {}

  /**
   * Opens or creates the folder. Throws `RangeError` when it belongs to a run with other options, naming each, and `Error` when another run is at work
   * in it or it cannot be written.
   */
  static async open(dir: string, identity: RunIdentity): Promise<WorkFolder> {
    let lock: Deno.FsFile;
    try {
      await Deno.mkdir(join(dir, "linears"), { recursive: true });
      lock = await Deno.open(join(dir, "lock"), { create: true, write: true });
    } catch (error) {
      throw new Error(
        `Cannot write to ${dir}: ${error instanceof Error ? error.message : error}; choose another output folder`,
      );
    }
    // The system releases the lock when the process ends, however it ends.
    if (!await lock.tryLock(true)) {
      lock.close();
      throw new Error(
        `Cannot quantise into ${dir}: another run is at work there; wait for it, or choose another folder`,
      );
    }
    try {
      const file = join(dir, "run.json");
      const before = await ifThere(Deno.readTextFile(file));
      if (before === undefined) {
        await writeFileAtomic(file, [new TextEncoder().encode(JSON.stringify(identity, null, 2) + "\n")]);
      } else {
        refuseOther(JSON.parse(before) as RunIdentity, identity, dir);
      }
    } catch (error) {
      lock.close();
      throw error;
    }
    return new WorkFolder(dir, identity, lock);
  }

  /** The finished linear, or undefined. Throws `RangeError` when it was made from other weights, `SyntaxError` when its file is damaged. */
  async finished(name: string, W?: Matrix): Promise<Finished | undefined> {
    const path = this.#path(name);
    const source = await ifThere(fileSource(path));
    if (!source) return undefined;
    const file = await openSafetensors(source);
    const { entry, report, weights } = file.metadata;
    if (W && weights !== digest(W.data)) {
      throw new RangeError(
        `Cannot resume: ${path} was made from other weights than "${name}" has now; remove ${this.dir} to start again`,
      );
    }
    const tensors: Record<string, StoredTensor> = {};
    for (const part of file.names) {
      const { dtype, shape } = file.info(part);
      tensors[part] = { dtype: dtype as StoredTensor["dtype"], shape, bytes: await file.read(part) };
    }
    return { q: { name, ...JSON.parse(entry), tensors }, report: JSON.parse(report) };
  }

  /** Whether the linear is finished, without reading it. */
  async has(name: string): Promise<boolean> {
    return await ifThere(Deno.stat(this.#path(name))) !== undefined;
  }

  /** Writes a finished linear, whole or not at all, and a line of `report.jsonl`. */
  async put({ q, report }: Finished, W: Matrix): Promise<void> {
    const { format, shape, config } = q;
    const metadata = {
      entry: JSON.stringify({ format, shape, config, report: q.report }),
      report: JSON.stringify(report),
      weights: digest(W.data),
    };
    await writeFileAtomic(this.#path(q.name), encodeSafetensors(q.tensors as Record<string, TensorBytes>, metadata));
    // For whoever watches the run; what counts is in the linear's own file.
    await Deno.writeTextFile(join(this.dir, "report.jsonl"), JSON.stringify(report) + "\n", { append: true });
  }

  /** A JSON value that a run computes once: `make` is called when the file is not there yet. */
  async once<T>(file: string, make: () => Promise<T>): Promise<T> {
    const path = join(this.dir, file);
    const before = await ifThere(Deno.readTextFile(path));
    if (before !== undefined) return JSON.parse(before) as T;
    const value = await make();
    await writeFileAtomic(path, [new TextEncoder().encode(JSON.stringify(value) + "\n")]);
    return value;
  }

  /** Removes the folder: the checkpoint is complete. */
  async remove(): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }

  // deno-lint-ignore require-await -- the interface asks for a promise
  async [Symbol.asyncDispose](): Promise<void> {
    this.lock.close();
  }

  #path(name: string): string {
    return join(this.dir, "linears", `${name}.safetensors`);
  }
}

/** SHA-256 of an array's bytes, in hex. */
export function digest({ buffer, byteOffset, byteLength }: Float32Array | Int32Array | Uint8Array): string {
  return createHash("sha256").update(new Uint8Array(buffer, byteOffset, byteLength)).digest("hex");
}

function refuseOther(before: RunIdentity, now: RunIdentity, dir: string): void {
  const fields = [...new Set([...Object.keys(before), ...Object.keys(now)])].filter((f) => before[f] !== now[f]);
  if (fields.length === 0) return;
  const changes = fields.map((f) => `${f} was ${JSON.stringify(before[f])}, is ${JSON.stringify(now[f])}`).join("; ");
  throw new RangeError(
    `Cannot resume in ${dir}: ${changes}. Run with the options of before, choose another output folder, or remove this one`,
  );
}

/** Removes the temporary files of a run that was killed while it wrote. */
export async function clearPartFiles(dir: string): Promise<void> {
  for await (const { name, isDirectory, isFile } of Deno.readDir(dir)) {
    if (isDirectory) await clearPartFiles(join(dir, name));
    else if (isFile && name.endsWith(".part")) await Deno.remove(join(dir, name));
  }
}

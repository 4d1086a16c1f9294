/** What this machine has left: memory that a process may take, and space on the disk of a folder. */
import { dirname } from "@std/path";
import { statfs } from "node:fs/promises";

/** Bytes of memory that can still be had: what the system calls available, or what a container leaves of its limit. */
export async function freeMemory(): Promise<number> {
  const { available } = Deno.systemMemoryInfo();
  const read = async (file: string) => {
    try {
      return Number((await Deno.readTextFile(`/sys/fs/cgroup/${file}`)).trim());
    } catch {
      return NaN; // Not Linux, or no limits there.
    }
  };
  const left = await read("memory.max") - await read("memory.current");
  return Number.isFinite(left) ? Math.min(available, left) : available;
}

/** Bytes that an ordinary user may write on the disk of `path`, which need not exist yet. */
export async function freeDisk(path: string): Promise<number> {
  for (let folder = path;; folder = dirname(folder)) {
    try {
      const { bavail, bsize } = await statfs(folder);
      return bavail * bsize;
    } catch (error) {
      if (folder === dirname(folder) || (error as { code?: string }).code !== "ENOENT") throw error;
    }
  }
}

/** Runs a script on webgpu through the software Vulkan that Debian's chromium brings. */
import { assertEquals } from "@std/assert";
import { deno } from "../deno.ts";

const ICD = "/usr/lib/chromium/vk_swiftshader_icd.json";
const loaders = ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"].map((folder) =>
  `/usr/${folder}/libvulkan.so.1`
);

const exists = (path: string): boolean => {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
};

/** Whether the driver or the loader is not installed, which is then said of `what`. */
export function lacksSoftwareVulkan(what: string): boolean {
  const lacks = !exists(ICD) || !loaders.some(exists);
  if (lacks) console.log(`SKIPPED ${what}: install chromium and libvulkan1`);
  return lacks;
}

/** The last line of the script's standard output. Fails when the script does. */
export async function onSoftwareVulkan(script: string): Promise<string> {
  const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys"];
  const { code, stdout, stderr } = await deno(["run", "--no-check", ...permissions, script], { VK_ICD_FILENAMES: ICD });
  assertEquals(code, 0, stderr);
  return stdout.trim().split("\n").at(-1)!;
}

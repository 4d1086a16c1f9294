/**
 * Installs the Jupyter kernel "quant-dllm" for the current user: the pinned Deno with this project's configuration.
 *   deno task kernel [--prefix DIR]
 * With --prefix it goes to DIR/share/jupyter, where JUPYTER_PATH=DIR/share/jupyter finds it.
 */
import { join } from "@std/path";
import { readOptions } from "./options.ts";

/** The Deno that the project is tested with. */
export const pinnedDeno = "2.9.6";
export const kernelName = "quant-dllm";
export const displayName = `Quant-dLLM (Deno ${pinnedDeno})`;

/** What is known of the machine, so that the rules below can be tested. */
export interface Host {
  readonly os: typeof Deno.build.os;
  readonly env: (name: string) => string | undefined;
  readonly execPath: string;
  readonly version: string;
}

/** Jupyter's data folder of the current user. Throws when the environment does not say where the user's files are. */
export function jupyterDataDir({ os, env }: Pick<Host, "os" | "env">): string {
  const own = env("JUPYTER_DATA_DIR");
  if (own) return own;
  const variable = os === "windows" ? "APPDATA" : "HOME";
  const base = env(variable);
  if (!base) {
    throw new Error(`Cannot find Jupyter's folder: ${variable} is not set; set JUPYTER_DATA_DIR or use --prefix`);
  }
  if (os === "windows") return `${base}\\jupyter`;
  if (os === "darwin") return `${base}/Library/Jupyter`;
  return `${env("XDG_DATA_HOME") || `${base}/.local/share`}/jupyter`;
}

/** The kernelspec: this Deno when it is the pinned one and stays where it is, else the pinned one through npx. */
export function kernelSpec(
  { os, execPath, version }: Omit<Host, "env">,
  launcher: string,
  env: Readonly<Record<string, string>> = {},
) {
  // npx may clear its cache, and a path into it would then be dead.
  const stays = version === pinnedDeno && !/[\\/]_npx[\\/]/.test(execPath);
  const deno = stays ? [execPath] : [os === "windows" ? "npx.cmd" : "npx", "-y", `deno@${pinnedDeno}`];
  const run = ["run", "--quiet", "--no-config", "--no-lock", "--allow-read", "--allow-env", "--allow-run"];
  return {
    argv: [...deno, ...run, launcher, "{connection_file}"],
    display_name: displayName,
    language: "typescript",
    interrupt_mode: "signal",
    env: { DENO_NO_UPDATE_CHECK: "1", ...env },
  };
}

/** Writes the kernelspec below a Jupyter data folder and returns its folder. */
export async function installKernel(dataDir: string, env: Readonly<Record<string, string>> = {}): Promise<string> {
  const launcher = await Deno.realPath(join(import.meta.dirname!, "notebooks", "launch.ts"));
  const spec = kernelSpec({ os: Deno.build.os, execPath: Deno.execPath(), version: Deno.version.deno }, launcher, env);
  const folder = join(dataDir, "kernels", kernelName);
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(join(folder, "kernel.json"), JSON.stringify(spec, null, 2) + "\n");
  return folder;
}

if (import.meta.main) {
  const { prefix } = readOptions("deno task kernel [--prefix DIR]", {
    prefix: { default: "", help: "folder to install below, instead of the user's own Jupyter folder", path: true },
  });
  const dataDir = prefix === ""
    ? jupyterDataDir({ os: Deno.build.os, env: (name) => Deno.env.get(name) })
    : join(prefix, "share", "jupyter");
  const folder = await installKernel(dataDir);
  console.error(`Installed the Jupyter kernel "${displayName}" in ${folder}`);
  console.error(
    `Choose it in JupyterLab or VS Code; ${Deno.cwd()} has to stay where it is; after a move, run this again.`,
  );
  if (prefix !== "") console.error(`Jupyter finds it with JUPYTER_PATH=${dataDir}`);
  console.log(JSON.stringify({ kernel: kernelName, folder }));
}

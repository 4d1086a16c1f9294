/**
 * What the kernelspec starts: the Deno kernel with this project's configuration.
 *
 * `deno jupyter` takes no --config; it looks for a deno.json from its working directory upwards. A notebook inside the project finds it by itself and
 * keeps its own folder. For a notebook elsewhere the kernel starts in the project's folder, and `QUANT_DLLM_NOTEBOOK_DIR` holds the notebook's.
 */

/** The folder that the kernel starts in, for a notebook in `folder`; both are real paths. */
export function kernelFolder(folder: string, project: string, separator = "/"): string {
  return folder === project || folder.startsWith(project + separator) ? folder : project;
}

if (import.meta.main) {
  const [connection] = Deno.args;
  if (connection === undefined) {
    console.error("Usage: launch.ts CONNECTION_FILE (Jupyter calls this; to install the kernel: deno task kernel)");
    Deno.exit(2);
  }
  const project = Deno.realPathSync(`${import.meta.dirname}/../..`);
  const folder = Deno.realPathSync(Deno.cwd());
  const child = new Deno.Command(Deno.execPath(), {
    args: ["jupyter", "--kernel", "--conn", Deno.realPathSync(connection)],
    cwd: kernelFolder(folder, project, Deno.build.os === "windows" ? "\\" : "/"),
    env: { QUANT_DLLM_NOTEBOOK_DIR: folder },
  }).spawn();
  // An interrupt is meant for the cell that runs: it reaches the kernel, and must not end this process before it.
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT", "SIGBREAK"] : ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) {
    Deno.addSignalListener(signal, () => {
      try {
        child.kill(signal);
      } catch (error) {
        if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error; // it has ended already
      }
    });
  }
  Deno.exit((await child.status).code);
}

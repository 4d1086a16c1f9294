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

/**
 * A shell in a session of its own between this process and the kernel. Stop is SIGINT to all of Jupyter's process group, of which a Deno kernel dies with
 * its variables: out of that group, it does not get it. When this process is gone, so that nobody could end the kernel, the shell does.
 */
const GUARD = `"$0" "$@" & kernel=$!
trap 'kill $kernel' TERM HUP
while kill -0 $QUANT_DLLM_LAUNCHER 2>/dev/null && kill -0 $kernel 2>/dev/null; do sleep 1; done
kill -0 $QUANT_DLLM_LAUNCHER 2>/dev/null || kill -9 $kernel
wait $kernel`;

if (import.meta.main) {
  const [connection] = Deno.args;
  if (connection === undefined) {
    console.error("Usage: launch.ts CONNECTION_FILE (Jupyter calls this; to install the kernel: deno task kernel)");
    Deno.exit(2);
  }
  const project = Deno.realPathSync(`${import.meta.dirname}/../..`);
  const folder = Deno.realPathSync(Deno.cwd());
  const windows = Deno.build.os === "windows";
  const note = `${Deno.realPathSync(connection)}.listens`;
  const kernel = [Deno.execPath(), "jupyter", "--kernel", "--conn", Deno.realPathSync(connection)];
  const [command, ...args] = windows ? kernel : ["/bin/sh", "-c", GUARD, ...kernel];
  const child = new Deno.Command(command, {
    args,
    cwd: kernelFolder(folder, project, windows ? "\\" : "/"),
    env: { QUANT_DLLM_NOTEBOOK_DIR: folder, QUANT_DLLM_STOP: note, QUANT_DLLM_LAUNCHER: String(Deno.pid) },
    detached: !windows,
  }).spawn();
  const quietly = (send: () => void) => {
    try {
      send();
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error; // it has ended already
    }
  };
  for (const signal of windows ? ["SIGBREAK"] as const : ["SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => quietly(() => child.kill(signal)));
  }
  Deno.addSignalListener("SIGINT", () => {
    if (windows) return quietly(() => child.kill("SIGINT"));
    // The library has noted who listens once a model is open; before that, nothing of ours runs that could be stopped.
    quietly(() => Deno.kill(Number(Deno.readTextFileSync(note)), "SIGUSR2"));
  });
  Deno.exit((await child.status).code);
}

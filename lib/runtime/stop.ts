/**
 * The stop button of a notebook. A Deno kernel dies of SIGINT, so the launcher of ours (`scripts/notebooks/launch.ts`) keeps that from it and sends SIGUSR2
 * to a kernel that listens here; the next run of a session then ends the call that asked for it, and variables live.
 */

/** Names the file that tells the launcher that this process listens. */
const VARIABLE = "QUANT_DLLM_STOP";
/** Milliseconds since the last run in which a press is meant for the call that made it, and in which the next run must come. */
const SINCE = 1500, UNTIL = 5000;

let listening = false, pressed = -Infinity, lastRun = -Infinity;

/** Begins to listen, once, where a launcher is there to tell. */
export function listenForStop(): void {
  if (listening || Deno.build.os === "windows") return;
  if (Deno.permissions.querySync({ name: "env", variable: VARIABLE }).state !== "granted") return;
  const file = Deno.env.get(VARIABLE);
  if (!file) return;
  listening = true;
  Deno.addSignalListener("SIGUSR2", () => {
    if (performance.now() - lastRun < SINCE) pressed = performance.now();
  });
  Deno.writeTextFileSync(file, String(Deno.pid));
}

/** Throws an `AbortError` when stop was pressed since the last call that this ended. */
export function throwIfStopped(): void {
  if (!listening) return;
  const now = performance.now(), isMeant = now - pressed < UNTIL;
  lastRun = now;
  pressed = -Infinity;
  if (isMeant) throw new DOMException("stopped from the notebook", "AbortError");
}

/** The host's side: a runtime of its own, and the sessions that it was asked for. */
import { parentPort, workerData } from "node:worker_threads";
import type { External } from "../onnx/graph.ts";
import { type Feed, openRuntime, type Session } from "./runtime.ts";
import { flat, type HostAnswer, type HostRequest, unflat } from "./session_host.ts";

const runtime = openRuntime({ device: "cpu", threads: (workerData as { threads: number }).threads });
const sessions = new Map<number, Session>();
let opened = 0;

parentPort!.on("message", async (message: HostRequest & { id: number }) => {
  let answer: HostAnswer, transfer: ArrayBuffer[] = [];
  try {
    answer = { id: message.id, ...await handle(message) };
    transfer = Object.values(answer.outputs ?? {}).map(({ data }) => data.buffer as ArrayBuffer);
  } catch (error) {
    answer = { id: message.id, error: error instanceof Error ? error.message : String(error) };
  }
  parentPort!.postMessage(answer, transfer);
});

async function handle(request: HostRequest): Promise<Omit<HostAnswer, "id">> {
  if (request.ask === "open") {
    const external = request.external.map(({ path, data }): External => ({ path, data: unflat(data) as Uint8Array }));
    const session = opened++; // before waiting: other requests come meanwhile
    sessions.set(session, await (await runtime).session(unflat(request.model) as Uint8Array, external));
    return { session };
  }
  const session = sessions.get(request.session)!;
  if (request.ask === "close") {
    sessions.delete(request.session);
    await session[Symbol.asyncDispose]();
    return {};
  }
  const feeds: Record<string, Feed> = {};
  for (const [name, { dims, data }] of Object.entries(request.feeds)) {
    feeds[name] = { dims, data: unflat(data) as Feed["data"] };
  }
  const outputs: Record<string, { dims: readonly number[]; data: ReturnType<typeof flat> }> = {};
  for (const [name, { dims, data }] of Object.entries(await session.run(feeds, {}, request.only))) {
    outputs[name] = { dims, data: flat(data) };
  }
  return { outputs };
}

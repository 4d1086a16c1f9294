import { assertEquals, assertRejects } from "@std/assert";
import { loadModel } from "../../lib/checkpoint/open.ts";
import { tasks, worldTasks } from "../../lib/evaluate/tasks.ts";

Deno.test("items are the same from a folder and from where a published package is fetched; what is not there is named", async () => {
  await using model = await loadModel("data/nano-llada");
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    try {
      return new Response(await Deno.readTextFile(`data/nanoworld${pathname}`));
    } catch {
      return new Response("", { status: 404, statusText: "Not Found" });
    }
  });
  const { port } = server.addr as Deno.NetAddr;
  const far = worldTasks(new URL(`http://127.0.0.1:${port}/`));
  assertEquals(await far.nano_mmlu.items(model.tokenizer), await tasks.nano_mmlu.items(model.tokenizer));
  const lost = worldTasks(new URL(`http://127.0.0.1:${port}/elsewhere/`));
  await assertRejects(
    () => Promise.resolve(lost.nano_mmlu.items(model.tokenizer)),
    Error,
    "the answer is 404 Not Found",
  );
});

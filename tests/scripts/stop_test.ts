/** The stop button of Jupyter: a call of the library ends with an AbortError, and the kernel keeps its variables. */
import { assert, assertEquals } from "@std/assert";
import { installKernel } from "../../scripts/kernel.ts";
import { inFolder } from "../model/tiny.ts";

const python = "/usr/bin/python3";
const hasClient = await new Deno.Command(python, { args: ["-c", "import jupyter_client"], stderr: "null" }).output()
  .then(({ success }) => success, () => false);
if (!hasClient) console.log("SKIPPED the stop button: install python3-jupyter-client");

/** Runs cells of (code, seconds until stop is pressed or null); prints, for each, its outcome and the seconds from stop to its end. */
const driver = `
import json, queue, sys, time
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="quant-dllm")
manager.start_kernel(cwd="notebooks")
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
for code, stop in json.loads(sys.argv[1]):
    begun, sent, idle, outcome, name = time.time(), None, None, "no answer", client.execute(code)
    # The kernel may say that it is idle before it has sent the result.
    while time.time() - begun < 60 and not (idle and (outcome != "no answer" or time.time() - idle > 3)):
        if stop is not None and sent is None and time.time() - begun > stop:
            manager.interrupt_kernel()
            sent = time.time()
        try:
            message = client.get_iopub_msg(timeout=0.1)
        except queue.Empty:
            if not manager.is_alive():
                outcome = "kernel died"
                break
            continue
        if message["parent_header"].get("msg_id") != name: continue
        content = message["content"]
        if message["msg_type"] == "error": outcome = content["ename"]
        if message["msg_type"] == "execute_result": outcome = content["data"]["text/plain"]
        if content.get("execution_state") == "idle": idle = time.time()
    print(json.dumps([outcome, time.time() - sent if sent else None]))
manager.shutdown_kernel(now=True)
`;

Deno.test({
  name: "stop in a notebook ends quantize, evaluate and generate within a second; the kernel and its variables live",
  ignore: !hasClient,
  fn: () =>
    inFolder(async (folder) => {
      await installKernel(folder);
      const draw = "{ tokenizer: model.tokenizer, count: 256, length: 64, seed: 1 }";
      const prepare = `import * as q from "quant-dllm"; const keep = 41;
        const model = await q.loadModel("../data/nano-llada", { device: "cpu" });
        const corpus = await q.loadCorpus("../data/nanoworld/calibration.jsonl", ${draw});
        const calibration = q.simulateMasks(corpus, { maskId: model.maskId, seed: 1 }); 0`;
      const cells: [string, number | null][] = [
        [prepare, null],
        ["for (;;) await q.quantize(model, q.daq({ bits: 3, group: 32 }), { calibration, seed: 1 })", 1],
        ["for (;;) await q.evaluate(model, q.choiceTasks, { seed: 1 })", 1],
        ['for (;;) await q.generate(model, "the", { length: 64, steps: 64, seed: 1, chat: false })', 1],
        ["await new Promise((resolve) => setTimeout(resolve, 1000)); 7", 0.5], // not ours to stop, and no harm to it
        [
          "await new Promise((resolve) => setTimeout(resolve, 5000)); keep + Math.sign((await model.logits(Int32Array.of(1))).data.length)",
          null,
        ],
      ];
      const { success, stdout, stderr } = await new Deno.Command(python, {
        args: ["-c", driver, JSON.stringify(cells)],
        env: { JUPYTER_PATH: folder, NO_COLOR: "1" },
      }).output();
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      assert(success, text(stderr));
      const outcomes = text(stdout).trim().split("\n").map((line) => JSON.parse(line) as [string, number | null]);
      assertEquals(outcomes.map(([outcome]) => outcome), ["0", "AbortError", "AbortError", "AbortError", "7", "42"]);
      for (const [, seconds] of outcomes.slice(1, 4)) assert(seconds! < 10, `${seconds} s`);
    }),
});

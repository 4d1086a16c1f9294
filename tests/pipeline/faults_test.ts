import { assert, assertEquals, assertRejects } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { checkpointTensors, inFolder, tinyConfig, tinyWeights, writeCheckpoint } from "../model/tiny.ts";
import { contents, writeSharded } from "./checkpoints.ts";

/** `deno task kills` does many. */
const KILLS = 8;

const child = (from: string, out: string) =>
  new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-A", fromFileUrl(new URL("quantize_child.ts", import.meta.url)), from, out],
    stdout: "piped",
    stderr: "piped",
  }).spawn();

Deno.test("kill -9 at eight random moments: nothing looks whole before it is, and the bytes at the end are the same", async () => {
  await inFolder(async (folder) => {
    const from = `${folder}/full`;
    await writeSharded(from, tinyConfig({ n_layers: 3 }));
    const begun = performance.now();
    assert((await child(from, `${folder}/whole`).output()).success);
    const whole = await contents(`${folder}/whole`);
    const limit = performance.now() - begun;
    const r = rng(1, "kills");
    let killed = 0, completed = 0;
    for (let out = 0; killed < KILLS; out++) {
      const to = `${folder}/out${out}`;
      for (let complete = false; !complete;) {
        const process = child(from, to);
        const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
        let said = "";
        while (!said.includes("begun")) said += (await reader.read()).value ?? "";
        // The work behind "begun" is a fraction of the run.
        await new Promise((resolve) => setTimeout(resolve, r.next() * limit * 0.5));
        try {
          process.kill("SIGKILL");
        } catch {
          // It was done already.
        }
        for (let piece = await reader.read(); !piece.done; piece = await reader.read()) said += piece.value;
        await process.stderr.cancel();
        await process.status;
        complete = said.includes("done");
        if (complete) break;
        killed++;
        // A config stands for a whole checkpoint, unless the work folder is still there: then the next run does the last step again.
        const there = await contents(to).catch(() => ({}));
        const working = Object.keys(there).some((file) => file.startsWith(".quantizing"));
        if ("config.json" in there && !working) {
          assertEquals(there, whole);
          break; // Killed behind its last step.
        }
        if (!("config.json" in there) && "README.md" in there) await assertRejects(() => loadModel(to), RangeError);
        if (killed < KILLS) continue;
        const last = await child(from, to).output();
        assert(last.success, new TextDecoder().decode(last.stderr));
        complete = true;
      }
      completed++;
      assertEquals(await contents(to), whole);
    }
    console.log(`killed ${killed} times, ${completed} checkpoints equal byte for byte`);
  });
});

/** A run of rtn in this process. */
async function run(from: string, out: string): Promise<void> {
  const checkpoint = await openCheckpoint(from);
  await using quantization = await openQuantization(checkpoint, rtn({ bits: 2, group: 4 }), {
    out,
    seed: 1,
    kernels: referenceKernels,
    device: "cpu",
    threads: 1,
  });
  await quantization.run();
}

Deno.test("a disk that fills up at any write: a clear error, no partial file, and the next run ends with the same bytes", async () => {
  await inFolder(async (folder) => {
    const from = `${folder}/full`;
    await writeSharded(from, tinyConfig());
    await run(from, `${folder}/whole`);
    const whole = await contents(`${folder}/whole`);
    const write = Deno.FsFile.prototype.write;
    for (const room of [0, 1, 2, 9, 20, 33, 36, 40]) {
      const out = `${folder}/out${room}`;
      let left = room;
      Deno.FsFile.prototype.write = function (bytes) {
        if (left-- > 0) return write.call(this, bytes);
        return Promise.reject(new Error("No space left on device (os error 28)"));
      };
      try {
        await assertRejects(() => run(from, out), Error, "No space left on device");
      } finally {
        Deno.FsFile.prototype.write = write;
      }
      const files = Object.keys(await contents(out));
      assert(!files.includes("config.json"), `after ${room} writes: ${files}`);
      assert(!files.some((file) => file.endsWith(".part")), `after ${room} writes: ${files}`);
      await run(from, out);
      assertEquals(await contents(out), whole);
    }
  });
});

Deno.test("a folder that cannot be written is named, with the remedy", async () => {
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, tinyConfig());
    const error = await assertRejects(
      () => run(`${folder}/full`, "/proc/nowhere/packed"),
      Error,
      "/proc/nowhere/packed",
    );
    assert(/choose another/.test(error.message), error.message);
  });
});

Deno.test("weights that are not numbers are refused by name, wherever they are", async () => {
  const config = tinyConfig();
  for (
    const [name, at] of [
      ["model.transformer.wte.weight", 40],
      ["model.transformer.ln_f.weight", 3],
      ["model.transformer.ff_out.weight", 5],
      ["model.transformer.blocks.1.ff_norm.weight", 0],
      ["model.transformer.blocks.0.up_proj.weight", 17],
    ] as const
  ) {
    for (const bad of [NaN, Infinity]) {
      await inFolder(async (folder) => {
        const tensors = checkpointTensors(config, tinyWeights(config));
        new Float32Array(tensors[name].bytes.buffer)[at] = bad;
        await writeCheckpoint(folder, config, tensors);
        await assertRejects(() => loadModel(folder, { device: "cpu" }), RangeError, name);
        if (name.includes("blocks")) await assertRejects(() => run(folder, `${folder}/out`), RangeError, name);
      });
    }
  }
});

Deno.test("tensors that are missing, too many, or contradict the config are refused by name, before any weight is read", async () => {
  const config = tinyConfig();
  const refuse = async (name: string, change: (t: ReturnType<typeof checkpointTensors>) => void, other = config) => {
    await inFolder(async (folder) => {
      const tensors = checkpointTensors(config, tinyWeights(config));
      change(tensors);
      await writeCheckpoint(folder, other, tensors);
      const error = await assertRejects(() => openCheckpoint(folder), Error, name);
      assert(error instanceof RangeError || error instanceof TypeError);
      assert(error.message.includes(folder), error.message);
    });
  };
  const q = "model.transformer.blocks.1.q_proj.weight";
  await refuse(q, (tensors) => delete tensors[q]);
  await refuse("q_proj.bias", (tensors) => tensors["model.transformer.blocks.1.q_proj.bias"] = tensors[q]);
  await refuse("blocks.2", (tensors) => tensors["model.transformer.blocks.2.q_proj.weight"] = tensors[q]);
  await refuse("wte", () => {}, tinyConfig({ vocab_size: 24, embedding_size: 24 }));
  await refuse("k_proj", () => {}, tinyConfig({ n_kv_heads: 2 }));
  await refuse("ff_proj", () => {}, tinyConfig({ mlp_hidden_size: 48 }));
  await refuse("blocks.2", () => {}, tinyConfig({ n_layers: 3 }));
  await refuse("blocks.1", () => {}, tinyConfig({ n_layers: 1 }));
});

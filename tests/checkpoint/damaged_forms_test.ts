/** Packed checkpoints whose stored forms are damaged: refused with the file, the linear and the tensor. */
import { assert, assertRejects } from "@std/assert";
import { fileSource, writeFileAtomic } from "../../lib/checkpoint/files/file_source.ts";
import { loadModel } from "../../lib/checkpoint/open.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { visible } from "../../lib/diffusion/mcs.ts";
import { encodeSafetensors, openSafetensors, type TensorBytes } from "../../lib/format/safetensors.ts";
import { aqlm } from "../../lib/methods/aqlm/aqlm.ts";
import { awq } from "../../lib/methods/awq.ts";
import { billm } from "../../lib/methods/billm.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { pt2Llm } from "../../lib/methods/pt2/pt2_llm.ts";
import { sbvr } from "../../lib/methods/sbvr/sbvr.ts";
import { sdqLlm } from "../../lib/methods/sdq/sdq_llm.ts";
import { slimLlm } from "../../lib/methods/slim/slim_llm.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { inFolder, randomTokens, tinyModel } from "../model/tiny.ts";

type Config = Record<string, number | string | boolean>;
/** Each form: its tensors, tensors with codes that none can be, and fields of its config that are wrong. */
const forms = [
  {
    ...{ form: "uniform", method: awq({ bits: 3, group: 8 }), parts: ["codes", "scales", "zeros", "in_scale"] },
    configs: [[{ bits: 0 }, "bits is 0"], [{ bits: 4 }, "the tensor codes"]],
  },
  {
    ...{ form: "uniform", method: gptq({ bits: 2, group: 8, actOrder: true }) },
    parts: ["codes", "scales", "zeros", "g_idx"],
    codes: [["g_idx", 2, "a group beyond the 2"]],
  },
  { form: "two-groups", method: billm({ group: 8 }), parts: ["signs", "seconds", "salient", "levels"] },
  {
    ...{ form: "ternary", method: pt2Llm({ group: 8 }), parts: ["trits", "scales", "order"] },
    codes: [["trits", 243, "byte 0 is 243"], ["order", 16, "permutation"]],
  },
  {
    ...{ form: "additive", method: aqlm({ books: 2, bits: 3, group: 4 }), parts: ["codes", "codebooks", "scales"] },
    configs: [[{ group: 5 }, "group is 5"], [{ bits: 17 }, "bits 17"], [{ books: 0 }, "books is 0"]],
  },
  {
    ...{ form: "subset-sum", method: sbvr({ sums: 2, group: 8, lines: 9 }), parts: ["codes", "index", "table"] },
    codes: [["index", 9, "a line beyond the 9"]],
    configs: [[{ sums: 9 }, "sums is 9"]],
  },
  {
    ...{ form: "sigma-delta", method: sdqLlm({ rate: 1.25, group: 8 }), parts: ["codes", "scales"] },
    codes: [["codes", 250, "byte 0 is 250"]],
    configs: [[{ rate: -1 }, "rate is -1"], [{ seed: 1.5 }, "seed 1.5"], [{ rate: 1e300 }, "the tensor codes"]],
  },
  {
    ...{ form: "mixed", method: slimLlm({ bits: 2, group: 4 }), parts: ["widths", "codes", "scales", "zeros"] },
    codes: [["widths", 255, "the tensor codes"]],
  },
] as const satisfies readonly {
  readonly codes?: readonly (readonly [string, number, string])[];
  readonly configs?: readonly (readonly [Config, string])[];
  readonly [key: string]: unknown;
}[];

const linear = "model.transformer.blocks.1.attn_out", cpu = { device: "cpu", threads: 1 } as const;
const calibration = visible({ windows: [randomTokens(12, 1), randomTokens(12, 2)] });

for (const { form, method, parts, ...wrong } of forms) {
  Deno.test(`${form} of ${method.name}: a damaged tensor or config is refused by file, linear and tensor, dense and packed`, () =>
    inFolder(async (folder) => {
      await using model = await tinyModel();
      await saveModel(await quantize(model, method, { calibration, seed: 1 }), folder);
      const path = `${folder}/model.safetensors`, file = await openSafetensors(await fileSource(path));
      const tensors: Record<string, TensorBytes> = {};
      for (const name of file.names) tensors[name] = { ...file.info(name), bytes: await file.read(name) };
      const refused = async (part: string, what: string, change: (whole: TensorBytes) => TensorBytes | undefined) => {
        const { [`${linear}.${part}`]: whole, ...others } = tensors, changed = change(whole);
        const damaged = changed ? { ...others, [`${linear}.${part}`]: changed } : others;
        await writeFileAtomic(path, encodeSafetensors(damaged));
        for (const run of ["dense", "packed"] as const) {
          const error = await assertRejects(() => loadModel(folder, { ...cpu, run }), SyntaxError, what);
          for (const named of ["Cannot load", path, `${linear}.weight`]) {
            assert(error.message.includes(named), error.message);
          }
        }
      };
      await using whole = await loadModel(folder, cpu);
      assert(whole.quantized.get(`${linear}.weight`)?.format === form);
      for (const part of parts) {
        const { dtype, shape, bytes } = tensors[`${linear}.${part}`], size = bytes.length / shape[0];
        await refused(part, `the tensor ${part} is missing`, () => undefined);
        const other = dtype === "U8" ? "BOOL" : "BF16";
        await refused(part, `the tensor ${part} is ${other}, wanted ${dtype}`, (t) => ({ ...t, dtype: other }));
        const cut = [shape[0] - 1, ...shape.slice(1)];
        await refused(
          part,
          // Only the table knows how many lines it has: a group that wants the last one misses it.
          part === "table" ? "beyond the 8 of its table" : `the tensor ${part} is [${cut}]`,
          (t) => ({ ...t, shape: cut, bytes: t.bytes.slice(0, -size) }),
        );
        // The same numbers in another shape.
        await refused(part, `the tensor ${part} is [1,${shape}]`, (t) => ({ ...t, shape: [1, ...shape] }));
      }
      await refused(
        "extra",
        `the form ${form} has no tensor extra`,
        () => ({ dtype: "U8", shape: [1], bytes: Uint8Array.of(1) }),
      );
      for (const [part, code, what] of "codes" in wrong ? wrong.codes : []) {
        await refused(part, what, (t) => ({ ...t, bytes: t.bytes.map((byte, i) => i === 0 ? code : byte) }));
      }
      await writeFileAtomic(path, encodeSafetensors(tensors));
      const saved = await Deno.readTextFile(`${folder}/config.json`);
      const configs: readonly (readonly [Config, string])[] = "configs" in wrong ? wrong.configs : [];
      for (
        const [fields, what] of [[{ group: 0 }, "group is 0"], ...configs] as readonly (readonly [Config, string])[]
      ) {
        const config = JSON.parse(saved);
        Object.assign(config.quantization_config.linears[`${linear}.weight`].config, fields);
        await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
        const error = await assertRejects(() => loadModel(folder, cpu), SyntaxError, what);
        assert(error.message.includes(path) && error.message.includes(linear), error.message);
      }
    }));
}

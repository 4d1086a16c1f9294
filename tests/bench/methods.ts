/**
 * Every method of the field on one 4096 x 4096 linear, H given, beside GPTQ.
 *   deno run -A tests/bench/methods.ts [SIZE] [NAME ...]
 * No more than ten times GPTQ's time, but for AQLM, of which two rounds are timed.
 */
import { aqlm } from "../../lib/methods/aqlm/aqlm.ts";
import { awq } from "../../lib/methods/awq.ts";
import { billm } from "../../lib/methods/billm.ts";
import { dllmQuant } from "../../lib/methods/dllm_quant.ts";
import { gptaq } from "../../lib/methods/gptaq.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { pt2Llm } from "../../lib/methods/pt2/pt2_llm.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { sbvr } from "../../lib/methods/sbvr/sbvr.ts";
import { sdqLlm } from "../../lib/methods/sdq/sdq_llm.ts";
import { slimLlm } from "../../lib/methods/slim/slim_llm.ts";
import type { Method } from "../../lib/quant/method.ts";
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { matrix } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { fresh, secondMoment, weights } from "./inputs.ts";
import { once, report, time, type Timing } from "./report.ts";

const [size = "4096", ...names] = Deno.args, N = Number(size), MOST = 10, group = 128;
await using runtime = await openRuntime({ device: "cpu" });
await using kernels = fastKernels(runtime);

const random = rng(1, "tokens");
const X = matrix(1024, N, Float32Array.from({ length: 1024 * N }, () => random.next() - 0.5));
const H = await secondMoment(N, kernels);
const D = matrix(N, N, Float32Array.from({ length: N * N }, () => random.next() - 0.5));
const linear = { name: "linear", W: weights(N, N), H, D, X };
const run = (method: Method) => () => method.quantize({ ...fresh(linear), kernels });

const methods: Readonly<Record<string, Method>> = {
  RTN: rtn({ bits: 2, group }),
  GPTAQ: gptaq({ bits: 2, group }),
  AWQ: awq({ bits: 2, group }),
  "SliM-LLM": slimLlm({ bits: 2, group }),
  BiLLM: billm({ group }),
  "PT²-LLM": pt2Llm({ group }),
  SBVR: sbvr({ sums: 2, group }),
  "SDQ-LLM": sdqLlm({ rate: 1.25, group }),
  DLLMQuant: dllmQuant({ bits: 2, group }),
  "AQLM 1x8 g8, two rounds": aqlm({ books: 1, bits: 8, group: 8, epochs: 2, tolerance: 0 }),
};
await run(gptq({ bits: 2, group }))(); // starts threads and sessions
const base = await time(run(gptq({ bits: 2, group })));
const timings: Timing[] = [{ what: `GPTQ, 2 bits, group 128, ${N} x ${N}`, ...base }];
for (const [what, method] of Object.entries(methods)) {
  if (names.length > 0 && !names.some((name) => what.startsWith(name))) continue;
  const bar = what.startsWith("AQLM") ? {} : { atMost: MOST * base.seconds };
  timings.push({ what, ...await once(run(method)), ...bar });
  console.error(`${what}: ${timings.at(-1)!.seconds.toFixed(1)} s`);
}
report("methods", timings, base);

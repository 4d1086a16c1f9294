/** Dream's sampler: the whole answer competes in every step. */
import { type Confidence, gumbel, nucleusChoice } from "../sampler_choice.ts";
import { check, type Sampler } from "../sampler.ts";
import { denoisingTimes, transferShare } from "../schedule.ts";
import { denoise } from "./denoise.ts";

export interface DreamOptions {
  /** Which predictions are committed first: random ones (`origin`), or those of highest probability, lead over the next, or lowest entropy. */
  readonly alg?: "origin" | "maskgit_plus" | "topk_margin" | "entropy";
  /** Above 0, positions are drawn by softmax(confidence / algTemp) without replacement; not for `origin`. */
  readonly algTemp?: number;
  readonly temperature?: number;
  readonly topP?: number;
  /** The time at which denoising ends. */
  readonly eps?: number;
}

const confidences: Readonly<Record<"maskgit_plus" | "topk_margin" | "entropy", Confidence>> = {
  maskgit_plus: "probability",
  topk_margin: "margin",
  entropy: "entropy",
};

/**
 * Dream's sampler (generation_utils.py): the whole answer competes in every step, and a step from time t to s commits floor(n (1 - s / t)) of n masked
 * tokens, the last one all; under `origin` each with probability 1 - s / t instead. As for LLaDA, the mask itself is never predicted.
 * In parallel, or against kept keys and values, such models write with `lladaSampler`, block by block: it minds that their logits are shifted.
 *
 * @example
 * ```ts
 * import { dreamSampler, generate, loadModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const sampler = dreamSampler({ alg: "topk_margin", temperature: 0.2, topP: 0.95 });
 * const { text, passes } = await generate(model, "shift t e c by 2 :", { length: 4, steps: 2, seed: 1, sampler });
 * ```
 */
export function dreamSampler(options: DreamOptions = {}): Sampler {
  const { alg = "entropy", algTemp = 0, temperature = 0, topP = 1, eps = 1e-3 } = options;
  check("temperature", temperature, temperature >= 0, "a number from 0 on");
  check("algTemp", algTemp, algTemp >= 0, "a number from 0 on");
  check("topP", topP, topP > 0 && topP <= 1, "a share above 0, at most 1");
  check("eps", eps, eps >= 0 && eps < 1, "a time from 0 on, below 1");
  const confidence = alg === "origin" ? "probability" : confidences[alg];
  if (confidence === undefined) {
    throw new RangeError(`Cannot sample with alg ${alg}: wanted origin, ${Object.keys(confidences).join(", ")}`);
  }
  const name = [`dream-${alg}`, algTemp > 0 ? `at${algTemp}` : "", temperature > 0 ? `t${temperature}` : ""];
  name.push(topP < 1 ? `p${topP}` : "", eps === 1e-3 ? "" : `eps${eps}`);
  return {
    name: name.filter(Boolean).join("-"),
    walk(denoiser, prompt, walk) {
      const times = denoisingTimes(walk.steps, eps);
      return denoise(denoiser, prompt, walk, {
        plan(step, masked, stream) {
          const share = transferShare(times, step);
          if (alg !== "origin") return { positions: masked, count: Math.floor(masked.length * share) };
          const positions = masked.filter((p) => stream("transfer", p).next() < share);
          return { positions, count: positions.length };
        },
        choose(logits, stream) {
          const { maskId } = denoiser;
          const choice = nucleusChoice(logits, { maskId, temperature, topP, confidence, random: stream("token") });
          // The greatest of x / T + Gumbel noise, one after the other, are draws by softmax(x / T) without replacement.
          const drawn = algTemp > 0 ? choice.confidence / algTemp + gumbel(stream("remask")) : choice.confidence;
          return { ...choice, confidence: drawn };
        },
      });
    },
  };
}

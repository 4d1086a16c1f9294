/** The largest error of the oracle's logits on webgpu, as JSON: run by webgpu_test.ts with the Vulkan driver set, which must be before a process starts. */
import { loadModel } from "../../lib/model/checkpoint.ts";
import { distance } from "../layers.ts";
import * as oracle from "./llada_oracle.ts";

await using model = await loadModel(oracle.folder, { device: "webgpu" });
const { data } = await model.logits(await oracle.tokens(), { batch: oracle.batch });
console.log(JSON.stringify({
  device: model.engine.runtime.device,
  error: distance(data, await oracle.expected("logits")),
}));

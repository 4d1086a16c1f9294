import { assert, assertEquals } from "@std/assert";
import { LOGITS_PACKED_INT8, PACKED_FLOAT, PACKED_INT8 } from "../tolerances.ts";
import { lacksSoftwareVulkan, onSoftwareVulkan } from "../runtime/software_vulkan.ts";

const name = "packed linears and a packed model on webgpu, with software Vulkan";
Deno.test({ name, ignore: lacksSoftwareVulkan("packed webgpu") }, async () => {
  const stdout = await onSoftwareVulkan(new URL("./webgpu.ts", import.meta.url).href);
  const { device, float, int8, model } = JSON.parse(stdout);
  console.log(`packed model on webgpu: ${(100 * model).toFixed(2)} % of a token's logits`);
  assertEquals(device, "webgpu");
  for (const [name, error] of Object.entries<number>(float)) assert(error <= PACKED_FLOAT, `${name}: ${error}`);
  assert(int8 <= PACKED_INT8, `int8 activations: ${int8}`);
  assert(model <= LOGITS_PACKED_INT8, `the model: ${model}`);
});

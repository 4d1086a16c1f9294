import { assert, assertEquals, assertRejects } from "@std/assert";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { deno } from "../deno.ts";
import { LOGITS_WEBGPU } from "../tolerances.ts";
import { lacksSoftwareVulkan, onSoftwareVulkan } from "./software_vulkan.ts";

const name = "the oracle's logits and the gradients of training on webgpu, with software Vulkan";
Deno.test({ name, ignore: lacksSoftwareVulkan("webgpu") }, async () => {
  const answer = await onSoftwareVulkan(new URL("./webgpu_logits.ts", import.meta.url).href);
  const { device, error, gradientError } = JSON.parse(answer);
  console.log(
    `llada-tiny on webgpu: logits within ${error.toExponential(1)} of the oracle, tolerance ${LOGITS_WEBGPU}`,
  );
  assertEquals(device, "webgpu");
  assert(error <= LOGITS_WEBGPU);
  assert(gradientError < 1e-4, `gradients differ from those on the cpu by ${gradientError} of their norm`);
});

// Elsewhere webgpu does not go through Vulkan, whose driver can be hidden.
const elsewhere = Deno.build.os !== "linux", hidden = "webgpu without a driver is an error that says what to install";
if (elsewhere) console.log(`SKIPPED ${hidden}: needs Linux`);
Deno.test({ name: hidden, ignore: elsewhere }, async () => {
  const script = new URL("./webgpu_logits.ts", import.meta.url).href;
  const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys"];
  const none = { VK_ICD_FILENAMES: "/nonexistent/icd.json", VK_DRIVER_FILES: "/nonexistent/icd.json" };
  const { code, stderr } = await deno(["run", "--no-check", ...permissions, script], none);
  assertEquals(code, 1);
  assert(stderr.includes('Cannot use device "webgpu"') && stderr.includes("install a Vulkan driver"), stderr);
  await assertRejects(() => openRuntime({ device: "vulkan" as "cpu" }), RangeError, "vulkan");
});

import { assert, assertEquals } from "@std/assert";
import { daq } from "../../../lib/methods/daq/daq.ts";
import { levels, type LevelsOptions } from "../../../lib/methods/daq/levels.ts";
import { withRowScaleBits } from "../../../lib/quant/forms/row_scales.ts";
import { dequantize } from "../../../lib/quant/forms/decode.ts";
import { fastKernels } from "../../../lib/runtime/kernels.ts";
import { openRuntime } from "../../../lib/runtime/runtime.ts";
import { matrix } from "../../../lib/tensor/matrix.ts";
import { rng } from "../../../lib/tensor/rng.ts";
import { all, even, odd, relativeError, W } from "../../oracles/layer_a_binary.ts";

const errors = async (options: Partial<LevelsOptions>) => {
  await using runtime = await openRuntime({ device: "cpu" });
  await using kernels = fastKernels(runtime, { threads: 2 });
  const method = levels({ bits: 2, group: 128, ...options });
  const q = await method.quantize({ name: "layer A", W, H: all, kernels });
  const held = await method.quantize({ name: "layer A", W, H: even, kernels });
  return { q, inSample: relativeError(dequantize(q), all), held: relativeError(dequantize(held), odd) };
};

// Mean squared errors of the best uniform quantisers of a Gaussian with 2, 4 and 8 levels (Max 1960).
for (const [bits, expected] of [[1, 0.3634], [2, 0.1188], [3, 0.03744]]) {
  Deno.test(`Gaussian weights at ${bits} bits: the mean squared error of the best uniform levels`, async () => {
    const n = 384, random = rng(11);
    const W = matrix(n, n, Float32Array.from({ length: n * n }, () => 0.02 * random.normal()));
    const alone = { bits, group: n, profile: "official", dor: false, compensation: "none" } as const;
    const mse = async (method: ReturnType<typeof levels>) => {
      const Q = dequantize(await method.quantize({ name: "gauss", W }));
      let off = 0, size = 0;
      W.data.forEach((w, p) => {
        off += (w - Q.data[p]) ** 2;
        size += w * w;
      });
      return off / size;
    };
    const mine = await mse(levels(alone)), free = await mse(daq(alone));
    console.log(`Gaussian, ${bits} bits: ${mine.toFixed(4)}, binary planes ${free.toFixed(4)}, expected ${expected}`);
    // Scales of 384 rows and columns take up a little of the noise; free planes gain about 2 % more.
    assert(mine < expected && mine > 0.95 * expected, `${mine}`);
    assert(free <= mine * (1 + 1e-6) && free > 0.97 * mine, `${free}, ${mine}`);
  });
}

Deno.test("one bit, official: the oracle's error, as for one binary plane", async () => {
  const { inSample } = await errors({ bits: 1, profile: "official" });
  assert(Math.abs(inSample / 0.5406 - 1) < 0.01, `${inSample}`);
});

for (
  const [what, options, bounds] of [
    ["official, groups of 128", { profile: "official" }, [0.315, 0.328]],
    ["plus, groups of 128", {}, [0.139, 0.164]],
    ["plus, groups of 64", { group: 64 }, [0.131, 0.153]],
    ["plus, groups of 32", { group: 32 }, [0.122, 0.143]],
  ] as [string, Partial<LevelsOptions>, number[]][]
) {
  Deno.test(`${what}: relative output errors on layer A, in sample and on tokens it was not fitted to`, async () => {
    const { q, inSample, held } = await errors(options);
    const small = relativeError(dequantize(withRowScaleBits(q, 8)), all);
    console.log(
      `layer A, ${what}: ${inSample.toFixed(4)}, held out ${held.toFixed(4)}; 8-bit rows ${small.toFixed(4)}`,
    );
    assert(inSample < bounds[0] && held < bounds[1], `${inSample}, ${held}`);
    assert(Math.abs(small / inSample - 1) < 0.01);
    assertEquals(q.format, "levels");
    // Two bits with tied planes beat free planes of the official fit.
    if (options.profile !== "official") assert(held < 0.28);
  });
}

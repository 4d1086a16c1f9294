import { assert, assertEquals, assertThrows } from "@std/assert";
import { decodeSigmaDelta, readSigmaDelta, storeSigmaDelta } from "../../../lib/quant/dense/sigma_delta.ts";
import { rotate, signsOf } from "../../../lib/tensor/hadamard.ts";
import { rng } from "../../../lib/tensor/rng.ts";
import { distance } from "../../layers.ts";

Deno.test("sigma-delta: at a rate of one a block decodes to σ y + μ, turned back; codes of one bit are -1 and 1, trits -1, 0 and 1", () => {
  const rows = 3, cols = 12, group = 8, seed = 5, random = rng(1, "sigma-delta");
  for (const binary of [true, false]) {
    const blocks = [8, 4].map((width) => Uint8Array.from({ length: rows * width }, () => random.int(binary ? 2 : 3)));
    const scales = Float32Array.of(0.5, 1, 2, 0.25, 4, 1, -1, 0, 0.5, 2, 0, -0.25); // σ of both blocks, then μ
    const layer = { rows, cols, group, rate: 1, binary, seed, blocks, scales };
    const W = decodeSigmaDelta(storeSigmaDelta("up", layer, {}));
    for (let i = 0; i < rows; i++) {
      const turned = Float64Array.from(W.data.subarray(i * cols, (i + 1) * cols));
      rotate(turned, signsOf(cols, seed));
      const wanted = Array.from({ length: cols }, (_, j) => {
        const b = Math.floor(j / group), code = blocks[b][i * (b === 0 ? 8 : 4) + j % group];
        return scales[b * rows + i] * (binary ? 2 * code - 1 : code - 1) + scales[2 * rows + b * rows + i];
      });
      assert(distance(turned, wanted) < 1e-6, `${binary ? "bits" : "trits"}, row ${i}: ${turned} for ${wanted}`);
    }
  }
});

Deno.test("sigma-delta: a block of no whole number of columns is refused", () => {
  const blocks = [new Uint8Array(8)], scales = new Float32Array(2);
  const q = storeSigmaDelta("up", { rows: 1, cols: 8, group: 8, rate: 1, binary: false, seed: 1, blocks, scales }, {});
  assertEquals(readSigmaDelta(q).group, 8);
  for (const group of [0, -8, 2.5, NaN, "8"]) {
    assertThrows(
      () => readSigmaDelta({ ...q, config: { ...q.config, group } }),
      RangeError,
      `group is ${group}, wanted a positive integer`,
    );
  }
});

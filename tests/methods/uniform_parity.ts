import type { QuantizedLinear } from "../../lib/quant/method.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { readUniform } from "../../lib/quant/forms/uniform.ts";
import type { Matrix } from "../../lib/tensor/matrix.ts";

/** How many weights differ from the expected ones by more than a quarter of a grid step (fp16 scales account for far less); prints it. */
export function stepsOff(q: QuantizedLinear, expected: Matrix): number {
  const { cols, group, scales, groupOf } = readUniform(q), groups = Math.ceil(cols / group);
  const W = dequantize(q);
  let off = 0;
  for (let k = 0; k < W.data.length; k++) {
    const j = k % cols, g = groupOf ? groupOf[j] : Math.floor(j / group);
    if (Math.abs(W.data[k] - expected.data[k]) > 0.25 * scales[Math.floor(k / cols) * groups + g]) off++;
  }
  console.log(`layer A, ${q.name}: ${off} of ${W.data.length} weights off by a grid step`);
  return off;
}

/** Which stored forms there are. */
import { assertThrows } from "@std/assert";
import { dequantize } from "../../../lib/quant/forms/decode.ts";
import { rowsOf } from "../../../lib/quant/forms/rows_of.ts";
import { rtn } from "../../../lib/methods/rtn.ts";
import { matrix } from "../../../lib/tensor/matrix.ts";
import type { QuantizedLinear } from "../../../lib/quant/method.ts";

Deno.test("a form that there is not is refused by name, also where every object has that name", async () => {
  const q = await rtn({ bits: 2, group: 4 }).quantize({ name: "w", W: matrix(2, 4) });
  for (const format of ["nf4", "toString", "constructor", "__proto__"]) {
    const other = { ...q, format: format as QuantizedLinear["format"] };
    assertThrows(() => dequantize(other), TypeError, `its format is "${format}", wanted one of uniform`);
    assertThrows(() => rowsOf(other, { from: 0, to: 1 }), TypeError, format);
  }
});

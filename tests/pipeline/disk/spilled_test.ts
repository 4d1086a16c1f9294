import { assert, assertEquals, assertThrows } from "@std/assert";
import { concat } from "../../../lib/tensor/concat.ts";
import { decodeStates, encodeStates, statesBytes } from "../../../lib/pipeline/disk/spilled.ts";

Deno.test("states come back to eleven bits, whatever the size of the largest", () => {
  for (const largest of [1e-3, 1, 32768, 40000, 65000, 1e9]) {
    const data = Float32Array.of(largest, -largest / 3, largest / 7, 0, largest / 1000, -largest / 2);
    const bytes = Uint8Array.from(concat(encodeStates({ batch: 1, time: 2, data }), Uint8Array));
    assertEquals(bytes.length, statesBytes(2, 3));
    const found = decodeStates(bytes, "file");
    assertEquals([found.batch, found.time], [1, 2]);
    found.data.forEach((x, i) =>
      assert(Math.abs(x - data[i]) <= 2 ** -11 * Math.abs(data[i]) + 1e-7, `${x}: ${data[i]}`)
    );
  }
  // A header with a size of nothing, a file that its header does not fit, and one without a header.
  for (const [batch, time, width, words] of [[0, 2, 3, 0], [1, 0, 3, 0], [1, 2, 0, 0], [1, 2, 3, 5]]) {
    const bytes = new Uint8Array(16 + 2 * words);
    new Int32Array(bytes.buffer, 0, 4).set([batch, time, width, 0]);
    assertThrows(() => decodeStates(bytes, "states.bin"), SyntaxError, "states.bin: it holds no hidden states");
  }
  assertThrows(() => decodeStates(new Uint8Array(3), "states.bin"), SyntaxError, "states.bin");
  for (const [wrong, word] of [[NaN, "NaN"], [Infinity, "overflow"]] as const) {
    assertThrows(() => encodeStates({ batch: 1, time: 1, data: Float32Array.of(1, wrong) }), RangeError, word);
  }
});

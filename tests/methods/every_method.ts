/** Every method of the field by its name, for tests that hold for all. */
import { aqlm } from "../../lib/methods/aqlm/aqlm.ts";
import { awq } from "../../lib/methods/awq.ts";
import { billm } from "../../lib/methods/billm.ts";
import { gptaq } from "../../lib/methods/gptaq.ts";
import { pt2Llm } from "../../lib/methods/pt2/pt2_llm.ts";
import { sbvr } from "../../lib/methods/sbvr/sbvr.ts";
import { sdqLlm } from "../../lib/methods/sdq/sdq_llm.ts";
import { slimLlm } from "../../lib/methods/slim/slim_llm.ts";
import type { Method } from "../../lib/quant/method.ts";

/** With groups of `group` columns, and the bits of its form per weight for a linear of `[rows, cols]`, counted by hand. */
export const everyMethod: Readonly<
  Record<string, { make(group: number): Method; bits(rows: number, cols: number, group: number): number }>
> = {
  gptaq: { make: (group) => gptaq({ bits: 2, group }), bits: (_, __, g) => 2 + (16 + 2) / g },
  awq: { make: (group) => awq({ bits: 2, group }), bits: (rows, _, g) => 2 + (16 + 2) / g + 16 / rows },
  // Widths 1 2 2 3: zero points of 2, 2 and 3 bits, a mean of 16, and two bits a group for its width.
  "slim-llm": {
    make: (group) => slimLlm({ bits: 2, group }),
    bits: (rows, cols, g) => 2 + (16 + (16 + 2 + 2 + 3) / 4) / g + 2 * (cols / g) / (rows * cols),
  },
  billm: { make: (group) => billm({ group }), bits: (rows, _, g) => 2 + 8 * 16 / g + 1 / rows },
  aqlm: {
    make: () => aqlm({ books: 2, bits: 4, group: 4 }),
    bits: (rows, cols) => 2 + (2 * 16 * 4 * 16 + 16 * rows) / (rows * cols),
  },
  "pt2-llm": { make: (group) => pt2Llm({ group }), bits: (rows, _, g) => 1.6 + 32 / g + 16 / rows },
  sbvr: {
    make: (group) => sbvr({ sums: 2, group }),
    bits: (rows, cols, g) => 2 + 8 / g + Math.floor(rows * cols / g / 8) * 2 * 16 / (rows * cols),
  },
  "sdq-llm": { make: (group) => sdqLlm({ group }), bits: (_, __, g) => 1.6 * Math.floor(1.25 * g) / g + 32 / g },
};

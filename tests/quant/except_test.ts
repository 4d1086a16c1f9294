import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { abmp } from "../../lib/methods/abmp.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { except, type ExceptMethod, outsideOf } from "../../lib/quant/except.ts";
import { scaled8 } from "../../lib/quant/forms/row_scales.ts";
import { layer } from "../layers.ts";

const eight = rtn({ bits: 8, group: 128 }), four = rtn({ bits: 4, group: 128 });

Deno.test("a method with exceptions quantises linears as it did, and names its exceptions in one order", async () => {
  const plain = daq({ bits: 2, group: 128 });
  const method = except(plain, { head: four, embed: eight });
  assertEquals(method.name, "daq-plus-2b-g128+embed:rtn-8b-g128+head:rtn-4b-g128");
  assertEquals(except(plain, { embed: eight }).name, "daq-plus-2b-g128+embed:rtn-8b-g128");
  const { W, H, name } = layer(6, 32, 1);
  assertEquals(await method.quantize({ name, W, H }), await plain.quantize({ name, W, H }));
  assertEquals([method.needsHessian, except(eight, { head: four }).needsHessian], [true, false]);
  assertEquals(outsideOf(method), { embed: eight, head: four });
  assertEquals(outsideOf(plain), {});
});

Deno.test("exceptions add up and survive a budget across linears and 8-bit scales", async () => {
  const method = daq({ bits: abmp({ scope: "model", ratio: 0.5 }), group: 16 });
  const both = except(except(method, { embed: eight }), { embed: undefined, head: four });
  assertEquals(both.name, `${method.name}+embed:rtn-8b-g128+head:rtn-4b-g128`);
  const { W, H, name } = layer(6, 32, 1);
  const bound = both.across!.bind({ [name]: await both.across!.score({ name, W, H }) });
  assertEquals([bound.name, outsideOf(bound)], [both.name, { embed: eight, head: four }]);
  assert("outside" in bound);
  const small = scaled8(both);
  assertEquals(small.name, except(scaled8(method), { embed: eight, head: four }).name);
  assertStrictEquals(outsideOf(small).head, four);
  assertStrictEquals(outsideOf(small.across!.bind({ [name]: await small.across!.score({ name, W, H }) })).embed, eight);
});

Deno.test("what cannot quantise a matrix without data, or is given twice, is refused", () => {
  const method = daq({ bits: 2, group: 128 });
  assertThrows(() => except(method, { head: gptq({ bits: 4 }) }), TypeError, "no second moment");
  assertThrows(() => except(method, { head: except(four, { embed: eight }) }), TypeError, "wants more");
  assertThrows(() => except(except(method, { head: four }), { head: eight }), TypeError, "excepted already");
  assertThrows(() => except(method, { tail: four } as Partial<ExceptMethod["outside"]>), TypeError, '"tail"');
});

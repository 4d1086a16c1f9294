import { assert, assertEquals, assertThrows } from "@std/assert";
import { gradients } from "../../lib/onnx/autodiff.ts";
import { Graph, type Value } from "../../lib/onnx/graph.ts";
import * as op from "../../lib/onnx/ops.ts";
import { type Feed, openRuntime } from "../../lib/runtime/runtime.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { distance } from "../layers.ts";
import { GRADIENT_RELATIVE } from "../tolerances.ts";
import { interpret, type Tensor } from "./interpreter.ts";

/** A small graph y = f(parameters): their shapes, int64 inputs, and the operators. */
interface Case {
  readonly name: string;
  readonly shapes: readonly (readonly number[])[];
  readonly ids?: { readonly shape: readonly number[]; readonly data: readonly number[] };
  /** Numbers between 1 and 2 instead of normal ones. */
  readonly positive?: boolean;
  /** Of the parameters, how many are differentiated for; all by default. */
  readonly wanted?: number;
  build(g: Graph, parameters: readonly Value[], ids: Value): Value;
}

const binary = (f: typeof op.add, name: string): Case[] =>
  [[[3, 4], [3, 4]], [[3, 4], [4]], [[3, 1], [3, 4]], [[2, 1, 4], [3, 1]], [[3, 4], []], [[], [2, 2]]].map((
    shapes,
  ) => ({
    name: `${name} [${shapes[0]}] [${shapes[1]}]`,
    shapes,
    positive: name === "Div",
    build: (g, [a, b]) => f(g, a, b),
  }));

const products = [false, true].flatMap((transA) =>
  [false, true].flatMap((transB) =>
    [[], [2], [2, 3]].map((lead): Case => {
      const [A, B] = [transA ? [5, 3] : [3, 5], transB ? [4, 5] : [5, 4]];
      return {
        name: `product of rank ${lead.length + 2}, transA ${transA}, transB ${transB}`,
        shapes: [[...lead, ...A], [...lead, ...B]],
        build: (g, [a, b]) => op.matmul(g, a, b, { transA, transB }),
      };
    })
  )
);

const cases: Case[] = [
  ...binary(op.add, "Add"),
  ...binary(op.sub, "Sub"),
  ...binary(op.mul, "Mul"),
  ...binary(op.div, "Div"),
  ...products,
  { name: "Sigmoid", shapes: [[2, 5]], build: (g, [x]) => op.sigmoid(g, x) },
  { name: "Softmax", shapes: [[2, 3, 4]], build: (g, [x]) => op.softmax(g, x) },
  { name: "LogSoftmax", shapes: [[3, 4]], build: (g, [x]) => op.logSoftmax(g, x) },
  { name: "ReduceSum, kept", shapes: [[2, 3, 4]], build: (g, [x]) => op.reduceSum(g, x, [0, 2]) },
  { name: "ReduceSum, gone", shapes: [[2, 3, 4]], build: (g, [x]) => op.reduceSum(g, x, [0, 2], { keep: false }) },
  { name: "ReduceSum to a scalar", shapes: [[2, 3]], build: (g, [x]) => op.reduceSum(g, x, [0, 1], { keep: false }) },
  { name: "Reshape", shapes: [[2, 3, 4]], build: (g, [x]) => op.reshape(g, x, [6, 4]) },
  { name: "Transpose", shapes: [[2, 3, 4]], build: (g, [x]) => op.transpose(g, x, [2, 0, 1]) },
  { name: "SimplifiedLayerNormalization", shapes: [[2, 3, 4], [4]], build: (g, [x, w]) => op.rmsNorm(g, x, w, 0.1) },
  {
    name: "RotaryEmbedding",
    shapes: [[2, 3, 8], [3, 2], [3, 2]],
    wanted: 1,
    build: (g, [x, cos, sin]) => op.rope(g, x, cos, sin),
  },
  {
    name: "Gather, indices repeated",
    shapes: [[5, 3]],
    ids: { shape: [6], data: [4, 0, 4, 4, 1, 0] },
    build: (g, [x], ids) => op.gather(g, x, ids),
  },
  {
    name: "Gather, indices of rank 2",
    shapes: [[5, 3]],
    ids: { shape: [2, 2], data: [1, 3, 3, 3] },
    build: (g, [x], ids) => op.gather(g, x, ids),
  },
  {
    name: "GatherElements",
    shapes: [[4, 3]],
    ids: { shape: [4, 1], data: [2, 0, 2, 1] },
    build: (g, [x], ids) => op.pick(g, x, ids),
  },
  { name: "Expand", shapes: [[2, 3, 8]], build: (g, [x]) => op.repeatHeads(g, x, 2, 6, 4) },
  { name: "norms of heads", shapes: [[2, 3, 8], [4]], build: (g, [x, w]) => op.headNorm(g, x, w, 2, 0.1) },
  {
    name: "Gather of a column",
    shapes: [[3, 4]],
    build: (g, [x]) => g.append("Gather", [x, g.ints(2)], [{ shape: [3, 1] }], { axis: 1 })[0],
  },
  {
    name: "TopK",
    shapes: [[4, 5]],
    build: (g, [x]) => g.append("TopK", [x, g.ints(2)], [{ shape: [4, 2] }, { type: "int64", shape: [4, 2] }])[0],
  },
  {
    name: "ScatterElements",
    shapes: [[4, 5], [4, 2]],
    ids: { shape: [4, 2], data: [0, 3, 2, 1, 4, 0, 1, 2] },
    build: (g, [x, y], ids) => g.append("ScatterElements", [x, ids, y], [x], { axis: 1 })[0],
  },
  {
    name: "rows that are not zero, gathered and added back",
    shapes: [[4, 3], [4]],
    build(g, [x, w]) {
      const chosen = g.append("NonZero", [w], [{ type: "int64", shape: [1, "m"] }])[0];
      const rows = op.gather(g, op.mul(g, x, x), op.reshape(g, chosen, ["m"]));
      const at = op.reshape(g, chosen, ["m", 1]);
      const scaled = op.mul(g, rows, op.gather(g, op.reshape(g, w, [4, 1]), op.reshape(g, chosen, ["m"])));
      return g.append("ScatterND", [x, at, scaled], [x], { reduction: "add" })[0];
    },
  },
  { name: "a value used three times", shapes: [[3]], build: (g, [x]) => op.mul(g, op.mul(g, x, x), x) },
];

Deno.test("every gradient rule agrees with central differences of float64 loops", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  for (const { name, shapes, ids, positive, wanted = shapes.length, build } of cases) {
    const g = new Graph();
    const parameters = shapes.map((shape, i) => g.input(`p${i}`, "float32", shape));
    const y = build(g, parameters, ids ? g.input("ids", "int64", ids.shape) : parameters[0]);
    const shape = y.shape as number[];
    // The loss weighs every entry of y differently, so that no gradient is a sum by chance.
    const mixing = g.input("mixing", "float32", shape);
    const loss = op.reduceSum(g, op.mul(g, y, mixing), shape.map((_, i) => i), { keep: false });
    const interpreted = g.nodes.length;
    gradients(g, loss, parameters.slice(0, wanted)).forEach((grad, i) => g.output(`d${i}`, grad));
    g.output("loss", loss);
    g.output("y", y);

    const r = rng(1, name);
    const draw = (shape: readonly number[], between = false): Tensor => ({
      shape,
      data: Float64Array.from(
        { length: shape.reduce((a, b) => a * b, 1) },
        () => Math.fround(between ? 1 + r.next() : r.normal()),
      ),
    });
    const tensors: Record<string, Tensor> = { mixing: draw(shape) };
    shapes.forEach((s, i) => tensors[`p${i}`] = draw(s, positive));
    const feeds: Record<string, Feed> = {};
    for (const [key, t] of Object.entries(tensors)) feeds[key] = { dims: t.shape, data: Float32Array.from(t.data) };
    if (ids) {
      tensors.ids = { shape: ids.shape, data: Float64Array.from(ids.data) };
      feeds.ids = { dims: ids.shape, data: BigInt64Array.from(ids.data, BigInt) };
    }
    await using session = await runtime.session(g.encode());
    const outputs = await session.run(feeds);
    g.nodes.length = interpreted;
    const plain = interpret(g, y, tensors);
    assertEquals([plain.shape, outputs.y.dims], [shape, shape], name);
    assert(distance(outputs.y.data, plain.data) <= 1e-5, `${name}: the operator itself is off`);

    for (let i = 0; i < wanted; i++) {
      const { data } = tensors[`p${i}`];
      const numeric = data.map((x, at) => {
        const h = 1e-5;
        const lossAt = (value: number) => {
          const moved = data.slice();
          moved[at] = value;
          return interpret(g, loss, { ...tensors, [`p${i}`]: { shape: shapes[i], data: moved } }).data[0];
        };
        return (lossAt(x + h) - lossAt(x - h)) / (2 * h);
      });
      const got = outputs[`d${i}`];
      assertEquals(got.dims, shapes[i], `${name}: shape of the gradient of p${i}`);
      const largest = numeric.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
      const off = distance(got.data, numeric) / largest;
      assert(largest > 0 && off <= GRADIENT_RELATIVE, `${name}: the gradient of p${i} is off by ${off}`);
    }
  }
});

Deno.test("an operator without a rule is refused by name, but only on the way to a parameter", () => {
  const g = new Graph();
  const [x, y] = [g.input("x", "float32", [3]), g.input("y", "float32", [3])];
  const loss = op.reduceSum(g, op.mul(g, op.sqrt(g, x), y), [0], { keep: false });
  assertThrows(() => gradients(g, loss, [x]), TypeError, "operator Sqrt has no gradient rule");
  assertEquals(gradients(g, loss, [y])[0].shape, [3]);

  const fused = new Graph();
  const q = fused.input("q", "float32", [1, 2, 4]);
  const mixed = op.reduceSum(fused, op.fusedAttention(fused, q, q, q, 2), [0, 1, 2], { keep: false });
  assertThrows(() => gradients(fused, mixed, [q]), TypeError, "MultiHeadAttention");
});

Deno.test("rows gathered at indices that may repeat, their number not known, are refused; so is a scatter that sets", () => {
  const g = new Graph();
  const x = g.input("x", "float32", [3, 2]), ids = g.input("ids", "int64", ["m"]);
  const dy = g.input("dy", "float32", ["m", 2]);
  assertThrows(() => gradients(g, op.gather(g, x, ids), [x], { dy }), TypeError, "may repeat");
  const at = g.input("at", "int64", [2, 1]), rows = g.input("rows", "float32", [2, 2]);
  const set = g.append("ScatterND", [x, at, rows], [x])[0];
  assertThrows(() => gradients(g, set, [x], { dy: x }), TypeError, "only where it adds");
});

Deno.test("operators that no output needs are not in the serialised graph", () => {
  const g = new Graph(), x = g.input("x", "float32", [3]);
  const y = op.sigmoid(g, x);
  g.output("y", y);
  const before = g.encode().length;
  op.mul(g, op.sqrt(g, x), y);
  assertEquals(g.encode().length, before);
});

Deno.test("a parameter that the loss does not depend on is refused by name", () => {
  const g = new Graph();
  const [x, idle] = [g.input("x", "float32", [3]), g.input("idle", "float32", [3])];
  const loss = op.reduceSum(g, x, [0], { keep: false });
  assertThrows(() => gradients(g, loss, [x, idle]), TypeError, '"idle"');
});

Deno.test("shapes that do not broadcast are refused", () => {
  const g = new Graph();
  const [x, y] = [g.input("x", "float32", [3]), g.input("y", "float32", [4])];
  assertThrows(() => op.add(g, x, y), TypeError, "Cannot broadcast [3] with [4]");
});

/**
 * Reverse-mode differentiation over the graph builder: one rule per operator, which appends the operators of its gradient.
 * Shapes must be static, but for the rows that are gathered for an expert. Notation: y = op(x...), `dy` the gradient of the loss with respect to y.
 */
import type { Graph, Node, Value } from "./graph.ts";
import { add, div, gather, matmul, mul, reduceSum, reshape, softmax, sqrt, sub, transpose } from "./ops.ts";

type Rule = (g: Graph, node: Node, dy: Value) => (Value | undefined)[];

/**
 * Gradients of the scalar `loss` with respect to each of `parameters`, appended to the graph. `loss` may be any value y where `dy`, of its shape, is the
 * gradient with respect to it: then these are the products of dy with the Jacobian of y. Throws for an operator without a rule.
 */
export function gradients(
  g: Graph,
  loss: Value,
  parameters: readonly Value[],
  { dy = g.scalar(1) }: { readonly dy?: Value } = {},
): Value[] {
  const nodes = g.nodes.slice();
  const needed = dependents(nodes, parameters);
  const grads = new Map<string, Value>([[loss.name, dy]]);
  for (const node of nodes.reverse()) {
    const dy = grads.get(node.outputs[0].name);
    if (!dy || !needed.has(node.outputs[0].name)) continue;
    const rule = rules[node.op];
    if (!rule) throw new TypeError(`Cannot differentiate: operator ${node.op} has no gradient rule`);
    rule(g, node, dy).forEach((dx, i) => {
      const x = node.inputs[i];
      if (!dx || !needed.has(x.name)) return;
      const reduced = unbroadcast(g, dx, x);
      const before = grads.get(x.name);
      grads.set(x.name, before ? add(g, before, reduced) : reduced);
    });
  }
  return parameters.map((p) => {
    const grad = grads.get(p.name);
    if (!grad) throw new TypeError(`Cannot differentiate: the loss does not depend on "${p.name}"`);
    return grad;
  });
}

const rules: Record<string, Rule> = {
  Add: (_g, _n, dy) => [dy, dy],
  Sub: (g, _n, dy) => [dy, mul(g, dy, g.scalar(-1))],
  Mul: (g, { inputs: [a, b] }, dy) => [mul(g, dy, b), mul(g, dy, a)],
  Div: (g, { inputs: [, b], outputs: [y] }, dy) => {
    const da = div(g, dy, b);
    return [da, mul(g, g.scalar(-1), mul(g, da, y))];
  },
  // s' = s (1 - s)
  Sigmoid: (g, { outputs: [s] }, dy) => [mul(g, dy, mul(g, s, sub(g, g.scalar(1), s)))],
  // dx = p (dy - Σ dy p)
  Softmax: (g, { outputs: [p] }, dy) => {
    const weighted = mul(g, dy, p);
    return [sub(g, weighted, mul(g, p, sumLast(g, weighted)))];
  },
  // dx = dy - softmax(x) Σ dy
  LogSoftmax: (g, { inputs: [x] }, dy) => [sub(g, dy, mul(g, softmax(g, x), sumLast(g, dy)))],
  ReduceSum: (g, { inputs: [x, axes], attributes }, dy) => {
    const kept = x.shape.map((d, i) => g.intsOf(axes).includes(i) ? 1 : d);
    return [add(g, zerosLike(g, x), attributes.keepdims === 1 ? dy : reshape(g, dy, kept))];
  },
  Reshape: (g, { inputs: [x] }, dy) => [reshape(g, dy, x.shape)],
  // What was repeated is summed, as after any broadcast.
  Expand: (_g, _n, dy) => [dy],
  Transpose: (g, { attributes }, dy) => {
    const perm = attributes.perm as readonly number[];
    return [transpose(g, dy, perm.map((_, i) => perm.indexOf(i)))];
  },
  Gemm: matmulRule,
  MatMul: matmulRule,
  FusedMatMul: matmulRule,
  SimplifiedLayerNormalization: rmsNormRule,
  // RoPE is a rotation, its transpose turns back: negate the sine.
  RotaryEmbedding: (g, { inputs: [, position, cos, sin], attributes }, dy) => {
    const back = mul(g, sin, g.scalar(-1));
    return g.append("RotaryEmbedding", [dy, position, cos, back], [dy], attributes);
  },
  Gather: gatherRule,
  GatherElements: (g, { inputs: [x, index] }, dy) => [mul(g, oneHotRows(g, index, x.shape[1] as number), dy)],
  // The largest of each row of a matrix: their gradients go back to where they stood.
  TopK: (g, { inputs: [x], outputs: [, index] }, dy) => [scatter(g, zerosLike(g, x), index, dy)],
  // Rows of a matrix with some entries set anew: the old entries no longer count.
  ScatterElements: (g, { inputs: [, index, updates] }, dy) => [
    scatter(g, dy, index, zerosLike(g, updates)),
    undefined,
    g.append("GatherElements", [dy, index], [{ shape: updates.shape }], { axis: 1 })[0],
  ],
  // Rows added to rows.
  ScatterND: (g, { inputs: [, at, updates], attributes }, dy) => {
    if (attributes.reduction !== "add") {
      throw new TypeError("Cannot differentiate: ScatterND has a rule only where it adds");
    }
    return [dy, undefined, gather(g, dy, reshape(g, at, [updates.shape[0]]))];
  },
};

/** Rows, or columns, of a matrix. */
function gatherRule(g: Graph, { inputs: [table, indices], attributes }: Node, dy: Value): Value[] {
  if (attributes.axis === 1) {
    const oneHot = oneHotRows(g, reshape(g, indices, [size(indices), 1]), table.shape[1] as number);
    return [matmul(g, dy, oneHot)];
  }
  const [rows, width] = table.shape as number[];
  if (!indices.distinct && indices.shape.every((d) => typeof d === "number")) {
    // Rows are summed by a product with the one-hot matrix of the indices: parallel, and exact on repeated indices.
    const oneHot = oneHotRows(g, reshape(g, indices, [size(indices), 1]), rows);
    return [matmul(g, oneHot, reshape(g, dy, [size(indices), width]), { transA: true })];
  }
  // How many there are is only known at run time. Rows that are added in place must differ, as those that NonZero gives do.
  if (!indices.distinct && !comesFrom(g, indices, "NonZero")) {
    throw new TypeError(
      "Cannot differentiate: rows are gathered at indices whose number is not known and that may repeat",
    );
  }
  const at = reshape(g, indices, [indices.shape[0], 1]);
  return [g.append("ScatterND", [zerosLike(g, table), at, dy], [table], { reduction: "add" })[0]];
}

/** Whether a value is what an operator gives, at most reshaped. */
function comesFrom(g: Graph, value: Value, op: string): boolean {
  const node = g.nodes.find(({ outputs }) => outputs.some((y) => y.name === value.name));
  return node !== undefined && (node.op === op || (node.op === "Reshape" && comesFrom(g, node.inputs[0], op)));
}

/** C = op(A) · op(B): dA = dC · op(B)ᵀ and dB = op(A)ᵀ · dC, transposed back where op transposes. */
function matmulRule(g: Graph, { inputs: [A, B], attributes }: Node, dC: Value): Value[] {
  const [transA, transB] = [attributes.transA === 1, attributes.transB === 1];
  const dA = transA ? matmul(g, B, dC, { transA: transB, transB: true }) : matmul(g, dC, B, { transB: !transB });
  const dB = transB ? matmul(g, dC, A, { transA: true, transB: transA }) : matmul(g, A, dC, { transA: !transA });
  return [dA, dB];
}

/**
 * y = x r w with r = (mean(x²) + ε)^-1/2: dx = r (w dy - x r² mean(x w dy)), dw = Σ dy x r. r is computed again, since the operator's own second output
 * is not written on webgpu. The mean is a product of dy x r, which dw needs anyway, with w.
 */
function rmsNormRule(g: Graph, { inputs: [x, w], attributes }: Node, dy: Value): Value[] {
  const width = x.shape.at(-1) as number, perWidth = g.scalar(1 / width);
  const square = mul(g, sumLast(g, mul(g, x, x)), perWidth);
  const r = div(g, g.scalar(1), sqrt(g, add(g, square, g.scalar(attributes.epsilon as number))));
  const xr = mul(g, x, r), dw = mul(g, dy, xr);
  const column = reshape(g, w, [width, 1]), shape = [...x.shape.slice(0, -1), 1];
  const mean = mul(g, g.append("MatMul", [dw, column], [{ shape }])[0], perWidth);
  return [mul(g, r, sub(g, mul(g, dy, w), mul(g, xr, mean))), dw];
}

function dependents(nodes: readonly Node[], parameters: readonly Value[]): Set<string> {
  const names = new Set(parameters.map((p) => p.name));
  for (const node of nodes) {
    if (!node.inputs.some((v) => names.has(v.name))) continue;
    for (const { name, type } of node.outputs) if (type.startsWith("float")) names.add(name); // shapes and indices have no gradient
  }
  return names;
}

/** Sums a gradient over the axes along which its input was broadcast. */
function unbroadcast(g: Graph, dx: Value, x: Value): Value {
  const extra = dx.shape.length - x.shape.length;
  const axes = dx.shape.flatMap((d, i) => i < extra || (x.shape[i - extra] === 1 && d !== 1) ? [i] : []);
  if (axes.length === 0) return dx;
  return reshape(g, reduceSum(g, dx, axes), x.shape);
}

function oneHotRows(g: Graph, index: Value, width: number): Value {
  const rows = index.shape[0];
  const equal = g.append("Equal", [index, reshape(g, range(g, width), [1, width])], [{
    type: "bool",
    shape: [rows, width],
  }])[0];
  return g.append("Cast", [equal], [{ shape: [rows, width] }], { to: 1 })[0];
}

function scatter(g: Graph, x: Value, index: Value, updates: Value): Value {
  return g.append("ScatterElements", [x, index, updates], [x], { axis: 1 })[0];
}

/** Not a stored constant: it may be as large as the states. */
function zerosLike(g: Graph, { shape, ...x }: Value): Value {
  const known = shape.every((d) => typeof d === "number");
  const target = known
    ? g.ints(...shape)
    : g.append("Shape", [{ ...x, shape }], [{ type: "int64", shape: [shape.length] }])[0];
  return g.append("ConstantOfShape", [target], [{ shape }])[0];
}

const range = (g: Graph, n: number): Value => g.ints(...Array.from({ length: n }, (_, i) => i));
const size = (x: Value): number => (x.shape as number[]).reduce((a, b) => a * b, 1);
const sumLast = (g: Graph, x: Value): Value => reduceSum(g, x, [x.shape.length - 1]);

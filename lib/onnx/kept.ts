/** Where a graph may be cut in two: what a first part leaves, so that a second need not compute it again. */
import type { Graph, Node, Value } from "./graph.ts";

/** What is worth its memory: all else costs no more than to write it and to read it again. */
const costly = new Set(["Gemm", "MatMul", "FusedMatMul", "Softmax", "Transpose"]);

/**
 * The products and softmaxes among the operators before the `from`-th that the later ones, as far as `outputs` need them, read, or compute what they read
 * from.
 */
export function kept(g: Graph, from: number, outputs: readonly Value[]): Value[] {
  const needed = new Set(outputs.map(({ name }) => name)), found: Value[] = [];
  g.nodes.toReversed().forEach((node: Node, i) => {
    const own = node.outputs.find(({ name }) => needed.has(name));
    if (!own) return;
    if (i >= g.nodes.length - from && costly.has(node.op)) found.push(own);
    else node.inputs.forEach(({ name }) => needed.add(name));
  });
  return found;
}

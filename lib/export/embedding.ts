/** An embedding that is looked up in its stored codes: elementary operators, which every runtime has. */
import { bytesOf, halvesOf } from "../quant/tensors.ts";
import { unpackBits } from "../format/bits.ts";
import type { QuantizedLinear } from "../quant/method.ts";
import type { Graph, Value } from "../onnx/graph.ts";
import { gather, mul, sub } from "../onnx/ops.ts";

/**
 * Rows of a stored matrix `[vocab, width]` at tokens `[batch, time]`, as float32 `[batch, time, width]`: s (code - zero), as it decodes. Gives the
 * reason instead where the form has no such lookup: it must be uniform with 1, 2, 4 or 8 bits, rows of whole bytes and groups of neighbouring columns.
 */
export function packedEmbedding(g: Graph, q: QuantizedLinear): ((tokens: Value) => Value) | string {
  const [rows, cols] = q.shape;
  const bits = Number(q.config.bits), group = Number(q.config.group);
  if (q.format !== "uniform") return `rows are not looked up in the form "${q.format}"`;
  if (8 % bits !== 0) return `rows are not looked up in codes of ${bits} bits`;
  if (cols * bits % 8 !== 0) return `its rows of ${cols} codes of ${bits} bits do not fill bytes`;
  if (q.tensors.g_idx) return "rows are not looked up in columns that are sorted by group";
  const perByte = 8 / bits, groups = Math.ceil(cols / group);
  const stored = bytesOf(q, "codes"), perGroup = halvesOf(q, "scales");
  if (stored.length !== rows * cols / perByte || perGroup.length !== rows * groups) {
    throw new RangeError(
      `Cannot export "${q.name}": it has ${stored.length} bytes of codes and ${perGroup.length} scales, ` +
        `wanted ${rows * cols / perByte} and ${rows * groups}; fetch or quantise it again`,
    );
  }
  const bytes = g.weight(stored, [rows, cols / perByte]);
  const scales = g.weight(Float16Array.from(perGroup), [rows, groups]);
  const symmetric = q.config.symmetric === true;
  const zeros = symmetric
    ? g.scalar(2 ** (bits - 1))
    : g.weight(unpackBits(bytesOf(q, "zeros"), bits, rows * groups), [rows, groups]);
  // What a byte holds: a table of codes, looked up like the rows.
  const codes = Float32Array.from({ length: 256 * perByte }, (_, i) => {
    return (Math.floor(i / perByte) >> (bits * (i % perByte))) & (2 ** bits - 1);
  });
  const table = g.constant(codes, [256, perByte]);
  const groupOf = g.constant(BigInt64Array.from({ length: cols }, (_, j) => BigInt(Math.floor(j / group))), [cols]);
  return (tokens) => {
    const lead = tokens.shape;
    const cast = (x: Value, type: "float32" | "int64") =>
      g.append("Cast", [x], [{ type, shape: x.shape }], { to: type === "float32" ? 1 : 7 })[0];
    /** Numbers per group as numbers per column. */
    const spread = (x: Value) =>
      groups === 1 ? x : g.append("Gather", [x, groupOf], [{ shape: [...lead, cols] }], { axis: 2 })[0];
    const found = gather(g, table, cast(gather(g, bytes, tokens), "int64"));
    const unpacked = g.append("Reshape", [found, g.ints(0, 0, cols)], [{ shape: [...lead, cols] }])[0];
    const zero = symmetric ? zeros : spread(cast(gather(g, zeros, tokens), "float32"));
    return mul(g, sub(g, unpacked, zero), spread(cast(gather(g, scales, tokens), "float32")));
  };
}

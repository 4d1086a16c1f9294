/** Products on onnxruntime for tests and benchmarks of the floors below the runtime. */
import * as ort from "onnxruntime-node";
import proto from "onnx-proto";
import { type GemmOptions, type Products, productShape } from "../lib/tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../lib/tensor/matrix.ts";

const { onnx } = proto;
const sessions = new Map<string, Promise<ort.InferenceSession>>();

export const onnxProducts: Products = {
  gemm: (A, B, options = {}) =>
    run("float32", "FusedMatMul", A, B, options, options.out ?? matrix(...productShape(A, B, options))),
  gemm64: (A, B, options = {}) =>
    run("float64", "Gemm", A, B, options, options.out ?? matrix64(...productShape(A, B, options))),
};

async function run<M extends Matrix | Matrix64>(
  type: "float32" | "float64",
  op: string,
  A: M,
  B: M,
  { transA, transB }: GemmOptions<M>,
  out: M,
): Promise<M> {
  const key = `${op} ${transA} ${transB}`;
  const session = sessions.get(key) ?? build(type, op, transA, transB);
  sessions.set(key, session);
  const tensor = (x: M) => new ort.Tensor(type as "float32", x.data as Float32Array, x.shape);
  await (await session).run({ A: tensor(A), B: tensor(B) }, { C: tensor(out) });
  return out;
}

function build(type: "float32" | "float64", op: string, transA = false, transB = false): Promise<ort.InferenceSession> {
  const value = (name: string) => ({
    name,
    type: {
      tensorType: {
        elemType: type === "float32" ? 1 : 11,
        shape: { dim: [{ dimParam: `${name}0` }, { dimParam: `${name}1` }] },
      },
    },
  });
  const model = onnx.ModelProto.create({
    irVersion: 10,
    opsetImport: [{ domain: "", version: 21 }, { domain: "com.microsoft", version: 1 }],
    graph: {
      name: "product",
      input: [value("A"), value("B")],
      output: [value("C")],
      node: [{
        opType: op,
        domain: op === "Gemm" ? "" : "com.microsoft",
        input: ["A", "B"],
        output: ["C"],
        attribute: [{ name: "transA", type: 2, i: transA ? 1 : 0 }, { name: "transB", type: 2, i: transB ? 1 : 0 }],
      }],
    },
  });
  return ort.InferenceSession.create(onnx.ModelProto.encode(model).finish(), { logSeverityLevel: 3 });
}

/**
 * A small builder of ONNX graphs: values are names with a shape, operators are appended in order, `encode` gives the protobuf bytes.
 * Shapes hold numbers, or strings for dimensions that are only known at run time.
 */
import proto from "onnx-proto";

const { onnx } = proto;

export type Dimension = number | string;
export type ElementType = "float32" | "float64" | "float16" | "int64" | "uint8" | "bool";
/** What a stored tensor is made from; the kind of array says the element type. */
export type TensorData = Float32Array | Float16Array | BigInt64Array | Uint8Array;

/** A tensor of the graph. */
export interface Value {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly Dimension[];
  /** Whether numbers are known to differ from one another, as indices that rows are added at in place must. */
  readonly distinct?: boolean;
}

/** One operator as it was appended: what the differentiation walks. */
export interface Node {
  readonly op: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly attributes: Attributes;
}

/** Bytes that a serialised graph refers to by `path`. */
export interface External {
  readonly path: string;
  readonly data: Uint8Array;
}

export type Attributes = Readonly<Record<string, number | readonly number[] | string>>;

/** Attributes that ONNX declares as float; every other number is an integer attribute. */
const floatAttributes = new Set(["epsilon"]);
/** Operators of onnxruntime's own domain. */
const microsoftOperators = new Set(["FusedMatMul", "RotaryEmbedding", "MultiHeadAttention", "MatMulNBits"]);
const elementTypes = { float32: 1, uint8: 2, int64: 7, bool: 9, float16: 10, float64: 11 } as const;

/** An optional input that an operator does without. */
export const absent: Value = { name: "", type: "float32", shape: [] };

export class Graph {
  readonly nodes: Node[] = [];
  readonly #inputs: Value[] = [];
  readonly #given = new Set<string>();
  readonly #outputs: Value[] = [];
  readonly #constants: { value: Value; bytes: Uint8Array }[] = [];
  readonly #external: { value: Value; bytes: Uint8Array }[] = [];
  readonly #scalars = new Map<string, Value>();
  #count = 0;

  /** Declares an input of the graph. The serialised one has it if an output needs it. */
  input(
    name: string,
    type: ElementType,
    shape: readonly Dimension[],
    { distinct = false }: { readonly distinct?: boolean } = {},
  ): Value {
    const value = { name, type, shape, distinct };
    this.#inputs.push(value);
    return value;
  }

  /** Makes a value an input, called by its own name, in place of the operator behind it, which must give nothing else. */
  given(value: Value): void {
    this.#given.add(value.name);
    this.#inputs.push(value);
  }

  /** The names of the inputs that an output needs. */
  get inputs(): readonly string[] {
    return this.#used().map(({ name }) => name);
  }

  /** A tensor that is stored in the graph. */
  constant(data: TensorData, shape: readonly number[]): Value {
    return this.#store(this.#constants, data, shape);
  }

  /** A tensor that lies beside the graph (see `external`): for weights, which the protobuf bytes would hold a second time. */
  weight(data: TensorData, shape: readonly number[]): Value {
    return this.#store(this.#external, data, shape);
  }

  /** The bytes of the tensors made by `weight`, under the names that the serialised graph calls them: what a session is opened with. */
  get external(): readonly External[] {
    return this.#external.map(({ value, bytes }) => ({ path: value.name, data: bytes }));
  }

  /** A float32 scalar, stored once however often it is used. */
  scalar(x: number): Value {
    return this.#cached(`f${x}`, () => this.constant(Float32Array.of(x), []));
  }

  /** An int64 vector, stored once however often it is used. */
  ints(...numbers: number[]): Value {
    return this.#cached(`i${numbers}`, () => this.constant(BigInt64Array.from(numbers, BigInt), [numbers.length]));
  }

  /** The numbers behind a value made by `ints`. */
  intsOf(value: Value): readonly number[] {
    const { bytes } = this.#constants.find((c) => c.value === value)!;
    return Array.from(new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8), Number);
  }

  /** Appends an operator and returns its outputs, one per entry of `outputs` (type and shape). */
  append(
    op: string,
    inputs: readonly Value[],
    outputs: readonly { type?: ElementType; shape: readonly Dimension[] }[],
    attributes: Attributes = {},
  ): Value[] {
    const values = outputs.map(({ type = "float32", shape }): Value => ({ name: `#t${this.#count++}`, type, shape }));
    this.nodes.push({ op, inputs, outputs: values, attributes });
    return values;
  }

  /** Names a value as an output of the graph; by its own name it is one as it is. */
  output(name: string, value: Value): void {
    if (name === value.name) return void this.#outputs.push(value);
    // An Identity keeps internal names free of what callers call their outputs; onnxruntime removes it.
    const named = { ...value, name };
    this.nodes.push({ op: "Identity", inputs: [value], outputs: [named], attributes: {} });
    this.#outputs.push(named);
  }

  /** The serialised ONNX model. */
  encode(): Uint8Array {
    const info = ({ name, type, shape }: Value) => ({
      name,
      type: {
        tensorType: {
          elemType: elementTypes[type],
          shape: { dim: shape.map((d) => typeof d === "number" ? { dimValue: d } : { dimParam: d }) },
        },
      },
    });
    const model = onnx.ModelProto.create({
      irVersion: 10,
      producerName: "quant-dllm",
      opsetImport: [{ domain: "", version: 21 }, { domain: "com.microsoft", version: 1 }],
      graph: {
        name: "graph",
        input: this.#used().map(info),
        output: this.#outputs.map(info),
        initializer: [
          ...this.#constants.map(({ value, bytes }) => ({ ...tensorInfo(value), rawData: bytes })),
          ...this.#external.map(({ value, bytes }) => ({
            ...tensorInfo(value),
            dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
            externalData: [
              { key: "location", value: value.name },
              { key: "offset", value: "0" },
              { key: "length", value: String(bytes.length) },
            ],
          })),
        ],
        node: this.#live().map(({ op, inputs, outputs, attributes }) => ({
          opType: op,
          domain: microsoftOperators.has(op) ? "com.microsoft" : "",
          input: inputs.map((v) => v.name),
          output: outputs.map((v) => v.name),
          attribute: Object.entries(attributes).map(encodeAttribute),
        })),
      },
    });
    return onnx.ModelProto.encode(model).finish();
  }

  /** The operators that an output needs: onnxruntime runs those that none needs too, and differentiation leaves some. */
  #live(): Node[] {
    const needed = new Set(this.#outputs.map(({ name }) => name));
    const live = this.nodes.toReversed().filter(({ inputs, outputs }) => {
      if (!outputs.some(({ name }) => needed.has(name) && !this.#given.has(name))) return false;
      inputs.forEach(({ name }) => needed.add(name));
      return true;
    });
    return live.reverse();
  }

  /** The inputs that an output needs. */
  #used(): Value[] {
    const read = new Set(this.#live().flatMap(({ inputs }) => inputs.map(({ name }) => name)));
    return this.#inputs.filter(({ name }) => read.has(name));
  }

  #store(where: { value: Value; bytes: Uint8Array }[], data: TensorData, shape: readonly number[]): Value {
    const value: Value = { name: `#c${this.#count++}`, type: typeOf(data), shape };
    where.push({ value, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) });
    return value;
  }

  #cached(key: string, make: () => Value): Value {
    let value = this.#scalars.get(key);
    if (!value) this.#scalars.set(key, value = make());
    return value;
  }
}

/** The element type of a tensor's numbers. */
export function typeOf(data: TensorData) {
  if (data instanceof Float32Array) return "float32";
  if (data instanceof Float16Array) return "float16";
  return data instanceof Uint8Array ? "uint8" : "int64";
}

function tensorInfo({ name, type, shape }: Value) {
  return { name, dataType: elementTypes[type], dims: shape as number[] };
}

function encodeAttribute([name, value]: [string, number | readonly number[] | string]) {
  const { FLOAT, INT, INTS, STRING } = onnx.AttributeProto.AttributeType;
  if (typeof value === "string") return { name, type: STRING, s: new TextEncoder().encode(value) };
  if (typeof value !== "number") return { name, type: INTS, ints: [...value] };
  return floatAttributes.has(name) ? { name, type: FLOAT, f: value } : { name, type: INT, i: value };
}

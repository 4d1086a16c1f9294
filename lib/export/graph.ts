/** A graph whose weights go to disk while it is built: a model of any size becomes one ONNX file and its data, with a block in memory at a time. */
import proto from "onnx-proto";
import type { DataFiles, Place } from "./data.ts";
import { type ElementType, Graph, type TensorData, typeOf, type Value } from "../onnx/graph.ts";

const { onnx } = proto;

/** Element types of initializers with their ONNX numbers and bytes. */
const stored = {
  float32: { id: 1, bytes: 4 },
  float16: { id: 10, bytes: 2 },
  uint8: { id: 2, bytes: 1 },
  int64: { id: 7, bytes: 8 },
} as const;

export type StoredType = keyof typeof stored;

export class ExportGraph extends Graph {
  readonly #placed: { readonly value: Value; readonly place: Place }[] = [];
  readonly #waiting: { readonly value: Value; readonly bytes: Uint8Array }[] = [];
  readonly #names = new Map<string, number>();
  /** What the weights made next belong to: their names start with it. */
  scope = "weight";

  constructor(readonly files: DataFiles) {
    super();
  }

  /** A tensor beside the graph; held until `flush`. */
  override weight(data: TensorData, shape: readonly number[]): Value {
    const value = this.#declare(typeOf(data), shape);
    this.#waiting.push({ value, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) });
    return value;
  }

  /** A tensor beside the graph that goes to disk as its pieces come. */
  async stream(
    pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    { type, shape }: { readonly type: StoredType; readonly shape: readonly number[] },
  ): Promise<Value> {
    const value = this.#declare(type, shape);
    const length = shape.reduce((product, n) => product * n, stored[type].bytes);
    this.#placed.push({ value, place: await this.files.append(value.name, pieces, { length }) });
    return value;
  }

  /** Writes the tensors that wait, and lets go of them. */
  async flush(): Promise<void> {
    for (const { value, bytes } of this.#waiting.splice(0)) {
      this.#placed.push({ value, place: await this.files.append(value.name, [bytes], { length: bytes.length }) });
    }
  }

  /** The serialised model; its weights are where `files` put them. */
  override encode(): Uint8Array {
    const model = onnx.ModelProto.decode(super.encode());
    for (const { value: { name, type, shape }, place } of this.#placed) {
      model.graph!.initializer!.push(onnx.TensorProto.create({
        name,
        dataType: stored[type as StoredType].id,
        dims: shape as number[],
        dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
        externalData: [
          { key: "location", value: place.file },
          { key: "offset", value: String(place.offset) },
          { key: "length", value: String(place.length) },
        ],
      }));
    }
    return onnx.ModelProto.encode(model).finish();
  }

  #declare(type: ElementType, shape: readonly number[]): Value {
    const count = this.#names.get(this.scope) ?? 0;
    this.#names.set(this.scope, count + 1);
    return { name: count === 0 ? this.scope : `${this.scope}.${count}`, type, shape };
  }
}

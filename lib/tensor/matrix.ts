/** Row-major matrices as plain readonly records over typed arrays. */

/** A row-major matrix of float32 (weights, activations): entry (i, j) is `data[i * cols + j]`. */
export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  /** `[rows, cols]`, for code that reads tensors by shape. */
  readonly shape: readonly [number, number];
  readonly data: Float32Array;
}

/** A row-major matrix of float64: what is derived from second moments. */
export interface Matrix64 {
  readonly rows: number;
  readonly cols: number;
  readonly shape: readonly [number, number];
  readonly data: Float64Array;
}

/** What the public doors take for a matrix: a record of this module, or any `{ shape, data }` or `{ rows, cols, data }`. */
export interface MatrixLike {
  readonly rows?: number;
  readonly cols?: number;
  readonly shape?: readonly number[];
  readonly data: ArrayLike<number>;
}

/** A float32 matrix over `data` (zeros by default). Throws `TypeError` when the length is not `rows * cols`. */
export function matrix(rows: number, cols: number, data: Float32Array = new Float32Array(rows * cols)): Matrix {
  return checked(rows, cols, data);
}

/** A float64 matrix over `data` (zeros by default). Throws `TypeError` when the length is not `rows * cols`. */
export function matrix64(rows: number, cols: number, data: Float64Array = new Float64Array(rows * cols)): Matrix64 {
  return checked(rows, cols, data);
}

/** Reads a matrix at a public door; float32 data is not copied. `what` names it in the `TypeError`. */
export function asMatrix(like: MatrixLike, what = "matrix"): Matrix {
  const [rows, cols] = shapeOf(like, what);
  const data = like.data instanceof Float32Array ? like.data : Float32Array.from(like.data);
  return checked(rows, cols, data, what);
}

/** As `asMatrix`, in float64. */
export function asMatrix64(like: MatrixLike, what = "matrix"): Matrix64 {
  const [rows, cols] = shapeOf(like, what);
  const data = like.data instanceof Float64Array ? like.data : Float64Array.from(like.data);
  return checked(rows, cols, data, what);
}

/** The sum of A_ij B_ij, in float64. */
export function inner(A: Matrix, B: Matrix): number {
  let sum = 0;
  for (let k = 0; k < A.data.length; k++) sum += A.data[k] * B.data[k];
  return sum;
}

/** The transpose, copied. */
export function transpose(a: Matrix): Matrix {
  const { rows, cols, data } = a;
  const out = new Float32Array(rows * cols);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) out[j * rows + i] = data[i * cols + j];
  }
  return matrix(cols, rows, out);
}

function shapeOf(like: MatrixLike, what: string): readonly [number, number] {
  const shape = like.shape ?? [like.rows ?? -1, like.cols ?? -1];
  if (shape.length !== 2 || !shape.every((n) => Number.isInteger(n) && n >= 0)) {
    throw new TypeError(`Cannot read ${what}: wanted the shape [rows, cols], found [${shape.join(", ")}]`);
  }
  return [shape[0], shape[1]];
}

function checked<T extends Float32Array | Float64Array>(rows: number, cols: number, data: T, what = "matrix") {
  if (data.length !== rows * cols) {
    throw new TypeError(`Cannot make ${what} of ${rows} x ${cols}: data holds ${data.length} numbers`);
  }
  return { rows, cols, shape: [rows, cols] as const, data };
}

/**
 * The seam between methods and models. A `Method` sees one linear layer and returns its stored form; it never sees a model.
 * The stored form is exactly what a packed checkpoint holds: bits are counted from its bytes and weights are what it decodes to.
 */
import type { Matrix, MatrixLike } from "../tensor/matrix.ts";
import type { Kernels } from "../tensor/kernels.ts";
import type { Factors } from "./factor.ts";

/** A stored tensor in safetensors terms: little-endian bytes of `dtype` and `shape`. */
export interface StoredTensor {
  readonly dtype: "U8" | "F16" | "F32" | "BF16" | "I64";
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A quantised linear in its stored form. */
export interface QuantizedLinear {
  readonly name: string;
  /** Which decoder reads it: a key of `formats` in `forms/decode.ts`. */
  readonly format:
    | "uniform"
    | "binary"
    | "levels"
    | "mixed"
    | "two-groups"
    | "ternary"
    | "additive"
    | "subset-sum"
    | "sigma-delta";
  /** `[out, in]` of the weight. */
  readonly shape: readonly [number, number];
  /** Small scalars the decoder needs, as they stand in `quantization_config` (bits, group, symmetric, ...). */
  readonly config: Readonly<Record<string, number | string | boolean>>;
  /** Everything that is stored per linear: packed codes, scales, zero points, orders of the groups. */
  readonly tensors: Readonly<Record<string, StoredTensor>>;
  /** What happened on the way: damping retries, fallbacks, losses. Never silent, never needed to decode. */
  readonly report: Readonly<Record<string, number | string | boolean>>;
}

/** One linear layer as a method sees it. */
export interface LinearInput {
  readonly name: string;
  /** Weight `[out, in]`. */
  readonly W: MatrixLike;
  /** Second moment 2 XᵀX (any positive multiple) `[in, in]`; methods that need no data ignore it. */
  readonly H?: MatrixLike;
  /** (2 / N) Σ (x̃ - x) xᵀ `[in, in]` on the scale of H, x̃ being what the linear reads in full precision; for methods that want `drift`. */
  readonly D?: MatrixLike;
  /** Some of the inputs x behind H, `[tokens, in]`, evenly from all of the calibration; for methods that want `inputs`. */
  readonly X?: MatrixLike;
  /** Where the factor of H is kept for the linears that share it (`newFactors`); without, a method factors H for itself. */
  readonly factors?: Factors;
  /** The arithmetic to use; plain loops by default. */
  readonly kernels?: Kernels;
  readonly signal?: AbortSignal;
}

/** A quantiser with its options bound. */
export interface Method {
  /** Canonical, derived from the options: the key in results and caches. */
  readonly name: string;
  /** Whether `quantize` reads `H`, so that the pipeline can spare the calibration pass. */
  readonly needsHessian: boolean;
  /** What `quantize` reads beside H, so that the pipeline carries it. */
  readonly wants?: {
    /** `D`: the pipeline then sends the calibration through the full-precision model too. */
    readonly drift?: boolean;
    /** Rows of `X`, at most. */
    readonly inputs?: number;
  };
  quantize(linear: LinearInput): Promise<QuantizedLinear>;
  /** For methods that choose something for all linears that share an input: what then quantises them, one after another. */
  together?(set: readonly LinearInput[]): Promise<Method>;
  /** Throws `RangeError` for a linear that its options do not fit, so that it is told before any work. */
  check?(linear: { readonly name: string; readonly shape: readonly [number, number] }): void;
  /** Whether factors of columns that it stores are folded into what comes before a linear, once all linears are there. */
  readonly folds?: boolean;
  /** Whether it quantises rows independently given H and stores nothing that they share, so that groups of rows may have each an H of its own. */
  readonly rowwise?: boolean;
  /** For methods that share a budget among all linears of a model: the pipeline scores every linear at full precision, then binds the answer. */
  readonly across?: {
    /** What `bind` needs of one linear. */
    score(linear: LinearInput): Promise<LinearScore>;
    /** The method with its budget shared out, by name of the linear. */
    bind(scores: Readonly<Record<string, LinearScore>>): Method;
  };
  /** Stands in for a method that knows its linears by name where another linear is to tell its time and size. */
  readonly typical?: Method;
  /** Methods for the matrices outside the blocks, which stay in full precision without: see `except`. */
  readonly outside?: { readonly embed?: Method; readonly head?: Method };
}

/** How sensitive the groups of columns of a linear are. */
export interface LinearScore {
  /** Score of each group. */
  readonly scores: ArrayLike<number>;
  /** Weights in each group. */
  readonly sizes: ArrayLike<number>;
}

/** A decoder from the stored form to the weight it stands for, `[out, in]` float32. */
export type Decoder = (q: QuantizedLinear) => Matrix;

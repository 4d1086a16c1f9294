/** Every tolerance of the floors model, pipeline and evaluate, with its reason. Absolute unless a name says otherwise. */

/** Logits on cpu against the PyTorch oracle: its own fp32 differs from fp64 by 2.7e-5, and another order of summation by as much again; a wrong formula by 0.1. */
export const LOGITS_CPU = 2e-4;

/** Hidden states on cpu against the oracle: the same two sources of error, states of size up to 5. */
export const HIDDEN_CPU = 1e-4;

/** Logits on webgpu: GPUs may fuse, reorder and approximate; software Vulkan gave 3e-5, a wrong operator gave 0.3. */
export const LOGITS_WEBGPU = 1e-2;

/** Logits of a batch against single sequences: products of another height take another kernel, so sums are ordered differently. */
export const BATCH = 2e-5;

/** Logits in float32 against our float64 loops on models of a few channels. */
export const LOGITS_TINY = 2e-5;

/** Relative to the largest entry of a gradient: float32 backward pass against differences of float64 losses (their own error is below 1e-8). */
export const GRADIENT_RELATIVE = 5e-5;

/** Relative to the largest entry of a gradient: two float32 passes over nano-llada whose sums have another order. */
export const BACKWARD_RELATIVE = 1e-4;

/** One optimiser step in float32 against float64 loops, relative to the size of the step. */
export const STEP_RELATIVE = 1e-4;

/** Second moments and errors in float32 against float64 loops, relative to the largest entry. */
export const MOMENT_RELATIVE = 1e-5;

/** What is computed in float64 from float32 log-probabilities. */
export const LOG_PROBABILITY = 1e-6;

/** Packed linears with float activations against float64 loops, largest error over the root mean square of the outputs: float32 sums of some hundred terms. */
export const PACKED_FLOAT = 2e-5;

/** The same with int8 activations, root mean square: a step of 1/127 of the largest of a kernel block, rounded, is 0.6 % of Gaussian inputs. */
export const PACKED_INT8 = 1.2e-2;

/** Logits of packed models with float activations against dense ones, root mean square relative: float32 sums in another order through two blocks. */
export const LOGITS_PACKED_FLOAT = 1e-5;

/** The same for every stored form, run packed or exported: the largest difference over the largest logit. A plane left out gives 0.2 and more. */
export const LOGITS_PACKED_LARGEST = 1e-5;

/** The same with int8 activations, median over tokens: 0.8 % per linear came to 0.8 to 1.6 % through two blocks; a wrong scale gives 100 %. */
export const LOGITS_PACKED_INT8 = 2.5e-2;

/** An exported graph with int8 activations, root mean square of the logits of a two-block model of 16 channels: 1.3 to 2.3 % over the stored forms. */
export const ONNX_INT8 = 5e-2;

/**
 * Decoded weights rounded to bf16, root mean square of the logits: 0.1 % per weight, but weights of one code share their error; up to 1.2 % over the
 * families' two-block models.
 */
export const LOGITS_BF16 = 2e-2;

/**
 * Logits of onnxruntime-web's wasm against the model's, root mean square: another order of summation gave 1.2e-6. Its packed products keep activations
 * in float32, whatever their accuracy level.
 */
export const LOGITS_WASM = 2e-5;

/** Student's quantiles and tails, relative: log Γ of half a million, near 6e6, is known to 1e-9; below a thousand degrees the error is 1e-12. */
export const STUDENT_RELATIVE = 3e-9;

/** Means and variances of some hundred numbers in float64 against another order of summation, relative to the largest of them. */
export const VARIANCE = 1e-12;

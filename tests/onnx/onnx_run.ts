/** Exported graphs as their users run them: plain onnxruntime on a file. */
import * as ort from "onnxruntime-node";

/** Logits `[batch · time, vocab]` of DIR/model.onnx. */
export async function runOnnx(dir: string, tokens: Int32Array, batch: number) {
  const session = await ort.InferenceSession.create(`${dir}/model.onnx`, { logSeverityLevel: 4 });
  try {
    const feed = new ort.Tensor("int64", BigInt64Array.from(tokens, BigInt), [batch, tokens.length / batch]);
    const { logits } = await session.run({ tokens: feed });
    return { dims: logits.dims, data: logits.data as Float32Array };
  } finally {
    await session.release();
  }
}

/** Largest difference, and the root mean square of all over that of `wanted`. */
export function deviation(found: ArrayLike<number>, wanted: ArrayLike<number>) {
  let largest = 0, squares = 0, scale = 0;
  for (let i = 0; i < wanted.length; i++) {
    const d = Math.abs(found[i] - wanted[i]);
    if (!(d <= largest)) largest = d; // NaN counts
    squares += d * d;
    scale += wanted[i] ** 2;
  }
  return { largest, relative: Math.sqrt(squares / scale) };
}

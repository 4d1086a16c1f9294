/** The page: plain onnxruntime-web on wasm, one session per job, logits back to the server. */
const report = (body) => fetch("/result", { method: "POST", body: JSON.stringify(body) });

addEventListener("unhandledrejection", ({ reason }) => report({ error: String(reason) }));

async function main() {
  const ort = await import("/library/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = "/library/";
  ort.env.wasm.numThreads = 1;
  const jobs = await (await fetch("/jobs")).json();
  const answers = [];
  for (const [i, { data, tokens, dims }] of jobs.entries()) {
    const begin = performance.now();
    const session = await ort.InferenceSession.create(`/models/${i}/model.onnx`, {
      executionProviders: ["wasm"],
      externalData: data.map((file) => ({ path: file, data: `/models/${i}/${file}` })),
    });
    const opened = performance.now();
    const feed = new ort.Tensor("int64", BigInt64Array.from(tokens, BigInt), dims);
    const { logits } = await session.run({ tokens: feed });
    const done = performance.now();
    answers.push({ dims: logits.dims, logits: Array.from(logits.data), open: opened - begin, run: done - opened });
    await session.release();
  }
  await report({ answers });
}

main().catch((error) => report({ error: String(error?.stack ?? error) }));

// Run a job in a page: runner.py for browsers. The server that the page comes from has the job and takes its result:
//   job.json        as runner.py describes it; `packages` is where npm's packages are, of which the runtime is one
//   inputs/         a stream as tensors.py describes
//   progress        gets the number of samples done
//   outputs/        gets such a stream, files in pieces
//   result.json     gets runtime, version, samples and latency_ns, last of all
// A failure is an uncaught exception, which the browser's owner sees.

import { post, read, Writer } from "./tensors.js";

const PROGRESS_MS = 500;

async function runOutputs(runtime, job) {
  const model = await runtime.load(job.models[0], job.threads, job.packages);
  const writer = new Writer("outputs");
  let count = 0;
  let told = performance.now();
  for await (const inputs of read("inputs")) {
    await writer.add(await model.run(inputs));
    count += 1;
    if (performance.now() - told > PROGRESS_MS) {
      told = performance.now();
      await post("progress", String(count));
    }
  }
  await writer.close();
  return { samples: count, latency_ns: [] };
}

/** Time all models in turn on the first sample, so that a change of clock or load meets each alike. */
async function runLatency(runtime, job) {
  const models = [];
  for (const path of job.models) models.push(await runtime.load(path, job.threads, job.packages));
  const { value: inputs } = await read("inputs").next();
  const latency = models.map(() => []);
  for (let repetition = 0; repetition < job.warmup + job.pairs; repetition += 1) {
    for (const [number, model] of models.entries()) {
      const start = performance.now();
      await model.run(inputs);
      const elapsed = performance.now() - start;
      if (repetition >= job.warmup) latency[number].push(Math.round(elapsed * 1e6));
    }
  }
  return { samples: 1, latency_ns: latency };
}

const job = await (await fetch("job.json")).json();
const runtime = await import(`./${job.runtime}.js`);
const result = await (job.mode === "outputs" ? runOutputs : runLatency)(runtime, job);
await post("result.json", JSON.stringify({ ...result, ...runtime.info() }));

// Run a job in a page: runner.py for browsers. The server that the page comes from has the job and takes its result:
//   job.json        as runner.py describes it; `packages` is where npm's packages are, of which the runtime is one
//   inputs/         a stream as tensors.py describes
//   progress        gets the number of samples done
//   token           gets each token that is chosen
//   outputs/        gets such a stream, files in pieces
//   result.json     gets runtime, version, samples and latency_ns, last of all
// A failure is an uncaught exception, which the browser's owner sees.

import { Decoder, generate, score } from "./decoder.js";
import { post, read, Writer } from "./tensors.js";

const PROGRESS_MS = 500;

async function runOutputs(runtime, job) {
  const model = await runtime.load(job.models[0], job.threads, job.packages);
  return { samples: await each((inputs) => model.run(inputs)), latency_ns: [] };
}

/** How likely each sample is to the first model. */
async function runScore(runtime, job) {
  const text = new Decoder(await runtime.load(job.models[0], job.threads, job.packages), job.decoder);
  return { samples: await each((inputs) => score(text, idsOf(inputs))), latency_ns: [] };
}

/** Go on with each sample. */
async function runGenerate(runtime, job) {
  const text = new Decoder(await runtime.load(job.models[0], job.threads, job.packages), job.decoder);
  const latency = [];
  const samples = await each(async (inputs) => {
    const { tokens, times } = await generate(text, idsOf(inputs), job.sampling, (token) => post("token", String(token)));
    latency.push(times);
    return { tokens: { dtype: "<i8", shape: [tokens.length], data: BigInt64Array.from(tokens.map(BigInt)) } };
  });
  return { samples, latency_ns: latency };
}

const idsOf = (inputs) => Array.from(inputs.input_ids.data, Number);

/** Write what `run` gives for each sample; give the number of samples. */
async function each(run) {
  const writer = new Writer("outputs");
  let count = 0;
  let told = performance.now();
  for await (const inputs of read("inputs")) {
    await writer.add(await run(inputs));
    count += 1;
    if (performance.now() - told > PROGRESS_MS) {
      told = performance.now();
      await post("progress", String(count));
    }
  }
  await writer.close();
  return count;
}

/** What is timed: a sample, or one more token of a text. */
async function stepOf(model, job, inputs) {
  if (!job.decoder) return () => model.run(inputs);
  const text = new Decoder(model, job.decoder);
  for await (const _ of text.passes(idsOf(inputs)));
  const { length } = text;
  return async () => {
    text.rewind(length);
    for await (const _ of text.passes([0]));
  };
}

/** Time all models in turn on the first sample, so that a change of clock or load meets each alike. */
async function runLatency(runtime, job) {
  const models = [];
  for (const path of job.models) models.push(await runtime.load(path, job.threads, job.packages));
  const { value: inputs } = await read("inputs").next();
  const steps = [];
  for (const model of models) steps.push(await stepOf(model, job, inputs));
  const latency = models.map(() => []);
  for (let repetition = 0; repetition < job.warmup + job.pairs; repetition += 1) {
    for (const [number, step] of steps.entries()) {
      const start = performance.now();
      await step();
      const elapsed = performance.now() - start;
      if (repetition >= job.warmup) latency[number].push(Math.round(elapsed * 1e6));
    }
  }
  return { samples: 1, latency_ns: latency };
}

const job = await (await fetch("job.json")).json();
const runtime = await import(`./${job.runtime}.js`);
const modes = { outputs: runOutputs, latency: runLatency, score: runScore, generate: runGenerate };
const result = await modes[job.mode](runtime, job);
await post("result.json", JSON.stringify({ ...result, ...runtime.info() }));

// The bundle's model in ONNX Runtime Web: WebAssembly on the CPU, its files built into this page.

import * as ort from "onnxruntime-web/wasm";
import type { Bundle, Progress } from "./bundle";
import type { Data, Dtype, Sample } from "./tensors";

// One thread runs wherever the page is served; more take headers that isolate the page.
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

export const RUNTIME = `ONNX Runtime Web ${ort.env.versions.web ?? ort.env.versions.common}`;

export class Model {
  private constructor(private readonly session: ort.InferenceSession) {}

  static async load(bundle: Bundle, progress?: Progress): Promise<Model> {
    const bytes = await bundle.bytes(bundle.manifest.artifact, progress);
    return new Model(await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], logSeverityLevel: 3 }));
  }

  async run(inputs: Sample): Promise<Sample> {
    const feeds: Record<string, ort.Tensor> = {};
    for (const [name, { dtype, shape, data }] of Object.entries(inputs)) {
      feeds[name] = new ort.Tensor(dtype as ort.Tensor.Type, data as ort.Tensor.DataType, shape);
    }
    const answered = await this.session.run(feeds);
    const outputs: Sample = {};
    for (const name of this.session.outputNames) {
      const { type, dims, data } = answered[name] as ort.Tensor;
      outputs[name] = { dtype: type as Dtype, shape: dims, data: data as Data };
    }
    return outputs;
  }
}

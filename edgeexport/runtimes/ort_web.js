// ONNX Runtime in a browser: WebAssembly on the CPU.

import { ARRAYS } from "./tensors.js";

export const RUNTIME = "onnxruntime-web";
export const NEEDS = { "imports": "onnxruntime-web", "distribution": "onnxruntime-web", "version": "1.30.0", "browser": true, "instead_of": "onnxruntime", "same_versions": true };

const TYPES = {
  "<f2": "float16",
  "<f4": "float32",
  "<f8": "float64",
  "|i1": "int8",
  "<i2": "int16",
  "<i4": "int32",
  "<i8": "int64",
  "|u1": "uint8",
  "<u2": "uint16",
  "<u4": "uint32",
  "<u8": "uint64",
  "|b1": "bool",
};
const DTYPES = Object.fromEntries(Object.entries(TYPES).map(([dtype, type]) => [type, dtype]));

let ort;

class Model {
  constructor(session) {
    this.session = session;
  }

  /** Run one sample: a map of name to { dtype, shape, data } in, the same out. */
  async run(inputs) {
    const feeds = {};
    for (const [name, { dtype, shape, data }] of Object.entries(inputs)) {
      feeds[name] = new ort.Tensor(TYPES[dtype], data, shape);
    }
    const answered = await this.session.run(feeds);
    const outputs = {};
    for (const name of this.session.outputNames) {
      const { type, dims, data } = answered[name];
      const dtype = DTYPES[type];
      if (!(data instanceof (ARRAYS[dtype] ?? Array))) throw new Error(`'${name}' holds ${type} values, which are not numbers`);
      outputs[name] = { dtype, shape: dims, data };
    }
    return outputs;
  }
}

/** Open the .onnx file at `path`; `packages` is where the npm package is. */
export async function load(path, threads, packages) {
  if (ort === undefined) {
    const folder = new URL(`${packages}/onnxruntime-web/dist/`, location.href).href;
    ort = await import(`${folder}ort.wasm.min.mjs`);
    ort.env.wasm.wasmPaths = folder;
    ort.env.wasm.numThreads = threads;
    ort.env.logLevel = "error";
  }
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: the server answered ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const options = { executionProviders: ["wasm"], logSeverityLevel: 3 };
  return new Model(await ort.InferenceSession.create(bytes, options));
}

/** Name and version for the report. */
export function info() {
  return { runtime: RUNTIME, version: ort.env.versions.web ?? ort.env.versions.common };
}

// LiteRT in a browser: WebAssembly on the CPU, with XNNPACK.

export const RUNTIME = "litert-web";
export const NEEDS = { "imports": "@litertjs/core", "distribution": "@litertjs/core", "version": "2.5.3", "browser": true, "instead_of": "litert" };

const TYPES = { "<f4": "float32", "<i4": "int32", "|u1": "uint8" };
const DTYPES = Object.fromEntries(Object.entries(TYPES).map(([dtype, type]) => [type, dtype]));

let litert;
let version;

/**
 * One model. It may hold several signatures with the same names, one for each length; a sample runs through the one
 * whose shapes are its own. Nothing is converted.
 */
class Model {
  constructor(compiled) {
    this.signatures = Object.values(compiled.signatures);
    if (this.signatures.length === 0) this.signatures = [compiled];
  }

  /** Run one sample: a map of name to { dtype, shape, data } in, the same out. */
  async run(inputs) {
    const signature = this.choose(inputs);
    const feeds = {};
    for (const [name, { shape, data }] of Object.entries(inputs)) feeds[name] = new litert.Tensor(data, shape);
    const answered = await signature.run(feeds);
    const outputs = {};
    for (const [name, tensor] of Object.entries(answered)) {
      const { dtype, layout } = tensor.type;
      outputs[name] = { dtype: DTYPES[dtype], shape: [...layout.dimensions], data: await tensor.data() };
      tensor.delete();
    }
    for (const tensor of Object.values(feeds)) if (!tensor.deleted) tensor.delete();
    return outputs;
  }

  choose(inputs) {
    const known = [];
    for (const signature of this.signatures) {
      const details = signature.getInputDetails();
      known.push(describe(details));
      const named = details.length === Object.keys(inputs).length && details.every(({ name }) => name in inputs);
      if (!named || !details.every(({ name, shape }) => `${[...shape]}` === `${inputs[name].shape}`)) continue;
      for (const { name, dtype } of details) {
        if (TYPES[inputs[name].dtype] !== dtype) {
          throw new Error(`the model takes ${dtype} as '${name}', not ${inputs[name].dtype}`);
        }
      }
      return signature;
    }
    const given = describe(Object.entries(inputs).map(([name, { shape }]) => ({ name, shape })));
    throw new Error(`no signature takes ${given}; the model has ${known.join("; ")}`);
  }
}

function describe(tensors) {
  return tensors.map(({ name, shape }) => `${name} [${[...shape].join(", ")}]`).sort().join(", ");
}

/** Open the .tflite file at `path`; `packages` is where the npm package is. */
export async function load(path, threads, packages) {
  if (litert === undefined) {
    const folder = new URL(`${packages}/@litertjs/core/`, location.href).href;
    litert = await import(`${folder}dist/index.js`);
    await litert.loadLiteRt(`${folder}wasm/`, { threads: threads > 1 });
    ({ version } = await (await fetch(`${folder}package.json`)).json());
  }
  const options = { accelerator: "wasm", cpuOptions: { numThreads: threads } };
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: the server answered ${response.status}`);
  return new Model(await litert.loadAndCompile(new Uint8Array(await response.arrayBuffer()), options));
}

/** Name and version for the report. */
export function info() {
  return { runtime: RUNTIME, version };
}

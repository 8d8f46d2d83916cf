// A stream of named arrays, as tensors.py describes it, over the server's inputs/ and outputs/.

const HALF = globalThis.Float16Array ?? Uint16Array; // the bits, where there is no such type
export const ARRAYS = {
  "<f2": HALF,
  "<f4": Float32Array,
  "<f8": Float64Array,
  "|i1": Int8Array,
  "<i2": Int16Array,
  "<i4": Int32Array,
  "<i8": BigInt64Array,
  "|u1": Uint8Array,
  "<u2": Uint16Array,
  "<u4": Uint32Array,
  "<u8": BigUint64Array,
  "|b1": Uint8Array,
};
const FLUSH_BYTES = 8 << 20;

async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: the server answered ${response.status}`);
  return response;
}

export async function post(path, body) {
  const response = await fetch(path, { method: "POST", body });
  if (!response.ok) throw new Error(`${path}: the server answered ${response.status} ${await response.text()}`);
}

/** Give the samples of a folder: each a map of name to { dtype, shape, data }. */
export async function* read(folder) {
  const index = await (await get(`${folder}/index.json`)).json();
  const files = [];
  for (const number of index.names.keys()) {
    files.push(await (await get(`${folder}/${number}.bin`)).arrayBuffer());
  }
  const offsets = index.names.map(() => 0);
  for (const shapes of index.shapes) {
    const sample = {};
    for (const [number, name] of index.names.entries()) {
      const dtype = index.dtypes[number];
      const Kind = ARRAYS[dtype];
      if (Kind === undefined) throw new Error(`'${name}' holds ${dtype} values, which a browser cannot`);
      const bytes = shapes[number].reduce((count, length) => count * length, 1) * Kind.BYTES_PER_ELEMENT;
      const start = offsets[number];
      offsets[number] += bytes;
      const data = new Kind(files[number].slice(start, start + bytes)); // a copy, and so aligned
      sample[name] = { dtype, shape: shapes[number], data };
    }
    yield sample;
  }
}

/** Append samples to a folder and write its index in the end. All samples must have the same names. */
export class Writer {
  constructor(folder) {
    this.folder = folder;
    this.index = { names: [], dtypes: [], shapes: [] };
    this.pending = [];
    this.bytes = 0;
  }

  async add(sample) {
    const names = Object.keys(sample);
    if (this.index.shapes.length === 0) {
      this.index.names = names;
      this.index.dtypes = names.map((name) => sample[name].dtype);
      this.pending = names.map(() => []);
    }
    names.forEach((name, number) => {
      const { dtype, data } = sample[name];
      if (name !== this.index.names[number] || dtype !== this.index.dtypes[number]) {
        throw new Error(`sample has '${name}' of ${dtype}, the stream ${JSON.stringify(this.index.names)}`);
      }
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
      this.pending[number].push(bytes);
      this.bytes += bytes.byteLength;
    });
    this.index.shapes.push(names.map((name) => [...sample[name].shape]));
    if (this.bytes > FLUSH_BYTES) await this.flush();
  }

  async close() {
    await this.flush();
    await post(`${this.folder}/index.json`, JSON.stringify(this.index));
  }

  async flush() {
    for (const [number, parts] of this.pending.entries()) {
      await post(`${this.folder}/${number}.bin`, new Blob(parts));
      this.pending[number] = [];
    }
    this.bytes = 0;
  }
}

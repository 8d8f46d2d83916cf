// Named arrays, and the streams of them that a bundle's golden data are.

const KINDS = {
  "<f4": ["float32", Float32Array],
  "<f8": ["float64", Float64Array],
  "|i1": ["int8", Int8Array],
  "<i2": ["int16", Int16Array],
  "<i4": ["int32", Int32Array],
  "<i8": ["int64", BigInt64Array],
  "|u1": ["uint8", Uint8Array],
  "<u2": ["uint16", Uint16Array],
  "|b1": ["bool", Uint8Array],
} as const;

type Kind = (typeof KINDS)[keyof typeof KINDS];
export type Dtype = Kind[0];
export type Data = InstanceType<Kind[1]>;

export interface Tensor {
  dtype: Dtype;
  shape: readonly number[];
  data: Data;
}

export type Sample = Record<string, Tensor>;

interface Index {
  names: string[];
  dtypes: string[];
  shapes: number[][][];
}

/** Read all samples of a folder: `index.json`, and one file of values a name, samples after each other. */
export async function readStream(file: (name: string) => Promise<Uint8Array>, folder: string): Promise<Sample[]> {
  const index: Index = JSON.parse(new TextDecoder().decode(await file(`${folder}/index.json`)));
  const samples: Sample[] = index.shapes.map(() => ({}));
  for (const [number, name] of index.names.entries()) {
    const bytes = await file(`${folder}/${number}.bin`);
    const kind = KINDS[index.dtypes[number] as keyof typeof KINDS];
    if (kind === undefined) throw new Error(`${folder}: '${name}' holds ${index.dtypes[number]}, which is not known here`);
    const [dtype, Values] = kind;
    let offset = 0;
    index.shapes.forEach((shapes, sample) => {
      const shape = shapes[number] ?? [];
      const length = shape.reduce((count, dimension) => count * dimension, 1) * Values.BYTES_PER_ELEMENT;
      const part = bytes.slice(offset, offset + length); // a copy, and so aligned
      if (part.byteLength !== length) throw new Error(`${folder}: ${number}.bin is shorter than its index says`);
      offset += length;
      (samples[sample] as Sample)[name] = { dtype, shape, data: new Values(part.buffer) };
    });
    if (offset !== bytes.byteLength) throw new Error(`${folder}: ${number}.bin is longer than its index says`);
  }
  return samples;
}

// Runs a language model token by token: the cache is here, the model gives what each pass adds to it.

import { argmax } from "./scores";
import type { Sample, Tensor } from "./tensors";

/** The manifest's `decoder`. */
export interface About {
  layers: number;
  kv_heads: number;
  head_dim: number;
  context: number;
  vocabulary: number;
  slides: boolean;
  prefill: number[];
  stop_ids: number[];
  cache: "slots" | "state";
}

type Run = (inputs: Sample) => Promise<Sample>;

const STEP = 64;
const MASKED = -1e4;

interface Passed {
  count: number;
  logits: Float32Array;
}

/** One text. Slots for keys and values grow by a step; where positions are rotary, the oldest is overwritten at the end. */
export class Decoder {
  length = 0;
  private slots = 0;
  private readonly past = new Map<string, Float32Array<ArrayBuffer>>();
  private readonly names: string[];

  constructor(
    readonly about: About,
    private readonly run: Run,
  ) {
    if (about.cache !== "slots") throw new Error(`This app has no cache of the kind ${about.cache}.`);
    const layers = [...Array(about.layers).keys()];
    this.names = layers.flatMap((layer) => [`key_${layer}`, `value_${layer}`]);
    this.reset();
  }

  reset(): void {
    [this.length, this.slots] = [0, 0];
    for (const name of this.names) this.past.set(name, new Float32Array());
  }

  get full(): boolean {
    return !this.about.slides && this.length === this.about.context;
  }

  /** Append token ids; give the logits of some of them at a time. */
  async *passes(ids: readonly number[]): AsyncGenerator<Passed> {
    const { context, slides, vocabulary } = this.about;
    const strange = ids.find((id) => id < 0 || id >= vocabulary);
    if (strange !== undefined) {
      throw new Error(`The text has token ${strange}, and the model knows ${vocabulary}: the tokenizer is another model's.`);
    }
    if (!slides && this.length + ids.length > context) {
      throw new Error(`The text has ${this.length + ids.length} tokens, and the model looks back on ${context}.`);
    }
    for (let start = 0; start < ids.length; ) {
      const count = Math.min(STEP, ids.length - start, context - (this.length % context));
      yield await this.pass(ids.slice(start, start + count));
      start += count;
    }
  }

  private async pass(ids: readonly number[]): Promise<Passed> {
    const { vocabulary, kv_heads, head_dim } = this.about;
    const count = ids.length;
    const row = (values: readonly number[]): Tensor => ({
      dtype: "int64",
      shape: [1, count],
      data: BigInt64Array.from(values, BigInt),
    });
    const inputs: Sample = {
      input_ids: row(ids),
      position_ids: row(ids.map((_, at) => this.length + at)),
      attention_mask: { dtype: "float32", shape: [1, 1, count, this.slots + count], data: this.mask(count) },
    };
    for (const [name, data] of this.past) {
      inputs[`past_${name}`] = { dtype: "float32", shape: [1, kv_heads, this.slots, head_dim], data };
    }
    const outputs = await this.run(inputs);
    this.keep(outputs, count);
    this.length += count;
    const { data } = outputs.logits as Tensor;
    return { count, logits: (data as Float32Array).subarray(0, count * vocabulary) };
  }

  /** Added to the scores: a row a new token, a column a slot and then a new token. */
  private mask(count: number): Float32Array<ArrayBuffer> {
    const { context } = this.about;
    const width = this.slots + count;
    const mask = new Float32Array(count * width);
    for (let at = 0; at < count; at += 1) {
      for (let slot = 0; slot < this.slots; slot += 1) {
        const back = (((this.length - 1 - slot) % context) + context) % context; // how long ago it was written
        const held = this.length - 1 - back;
        if (held < 0 || held <= this.length + at - context) mask[at * width + slot] = MASKED;
      }
      mask.fill(MASKED, at * width + this.slots + at + 1, (at + 1) * width);
    }
    return mask;
  }

  private keep(outputs: Sample, count: number): void {
    const { context, kv_heads, head_dim } = this.about;
    const place = this.length % context;
    if (place + count > this.slots) this.grow(Math.min(context, Math.ceil((place + count) / STEP) * STEP));
    for (const [name, past] of this.past) {
      const added = (outputs[`new_${name}`] as Tensor).data as Float32Array;
      for (let head = 0; head < kv_heads; head += 1) {
        const from = added.subarray(head * count * head_dim, (head + 1) * count * head_dim);
        past.set(from, (head * this.slots + place) * head_dim);
      }
    }
  }

  private grow(slots: number): void {
    const { kv_heads, head_dim } = this.about;
    const before = this.slots * head_dim;
    for (const [name, old] of this.past) {
      const grown = new Float32Array(kv_heads * slots * head_dim);
      for (let head = 0; head < kv_heads; head += 1) {
        grown.set(old.subarray(head * before, (head + 1) * before), head * slots * head_dim);
      }
      this.past.set(name, grown);
    }
    this.slots = slots;
  }
}

/** Go on with a text by the likeliest token each time, until one ends it; give milliseconds for each. */
export async function generate(
  decoder: Decoder,
  ids: readonly number[],
  count: number,
  tell: (token: number) => Promise<void>,
): Promise<number[]> {
  const times: number[] = [];
  decoder.reset();
  for (let given = ids, made = 0; made < count && !decoder.full; made += 1) {
    const began = performance.now();
    let token = 0;
    for await (const { count: passed, logits } of decoder.passes(given)) {
      token = likeliest(logits.subarray((passed - 1) * decoder.about.vocabulary));
    }
    times.push(performance.now() - began);
    if (decoder.about.stop_ids.includes(token)) break;
    await tell(token);
    given = [token];
  }
  return times;
}

/** How likely a text is, as the golden data say it: `nll` in nats of each token but the first, and the last `logits`. */
export async function score(decoder: Decoder, ids: readonly number[]): Promise<Sample> {
  const { vocabulary } = decoder.about;
  const nll = new Float32Array(ids.length - 1);
  let last = new Float32Array(vocabulary);
  let done = 0;
  decoder.reset();
  for await (const { count, logits } of decoder.passes(ids)) {
    for (let at = 0; at < count; at += 1, done += 1) {
      last = logits.slice(at * vocabulary, (at + 1) * vocabulary);
      if (done + 1 === ids.length) break;
      const most = last[likeliest(last)] as number;
      let total = 0;
      for (const value of last) total += Math.exp(value - most);
      nll[done] = most + Math.log(total) - (last[ids[done + 1] as number] as number);
    }
  }
  return {
    nll: { dtype: "float32", shape: [nll.length], data: nll },
    logits: { dtype: "float32", shape: [vocabulary], data: last },
  };
}

function likeliest(logits: Float32Array): number {
  return argmax(logits as unknown as number[]);
}

// Runs a causal language model token by token, as decoder.py does: see edgeexport/decoder.py for what it takes and gives.

import { ARRAYS } from "./tensors.js";

const STEP = 64;
const IDS = { int32: ["<i4", Number], int64: ["<i8", BigInt] };

/** One text through one model; `about` is the job's `decoder`. */
export class Decoder {
  constructor(model, about) {
    if (about.cache !== "slots") throw new Error(`a browser has no cache of the kind '${about.cache}'`);
    this.model = model;
    this.about = about;
    this.fixed = about.prefill.length ? [...new Set([1, ...about.prefill])].sort((a, b) => a - b) : [];
    const layers = [...Array(about.layers).keys()].flatMap((layer) => [`key_${layer}`, `value_${layer}`]);
    this.names = layers.map((name) => [`past_${name}`, `new_${name}`]);
    this.reset();
  }

  /** Begin a new text. */
  reset() {
    this.length = 0;
    this.slots = 0;
    this.arrays = {};
    this.grow(this.fixed.length ? this.about.context : 0);
  }

  /** Forget what came after the first `length` tokens, of a text that is not longer than the context. */
  rewind(length) {
    this.length = length;
  }

  get full() {
    return !this.about.slides && this.length === this.about.context;
  }

  /** Append token ids; give the logits [count, vocabulary] of some of them at a time, as they were computed. */
  async *passes(ids) {
    const { context, slides, vocabulary } = this.about;
    if (ids.length === 0) throw new Error("there is no token to begin with");
    const strange = ids.find((id) => id < 0 || id >= vocabulary);
    if (strange !== undefined) throw new Error(`the model has no token ${strange}: its vocabulary is of ${vocabulary}`);
    if (!slides && this.length + ids.length > context) {
      throw new Error(`${this.length + ids.length} tokens are more than the model's context of ${context}`);
    }
    const longest = this.fixed.at(-1) ?? STEP;
    for (let start = 0; start < ids.length; ) {
      const count = Math.min(longest, ids.length - start, context - (this.length % context));
      yield await this.pass(ids.slice(start, start + count));
      start += count;
    }
  }

  async pass(ids) {
    const { context, masked, slides, vocabulary } = this.about;
    const [start, count, slots] = [this.length, ids.length, this.slots];
    const length = this.fixed.find((one) => one >= count) ?? count;
    const [dtype, integer] = IDS[this.about.ids];
    const last = slides ? Infinity : context - 1;
    const row = (value) => ({ dtype, shape: [1, length], data: ARRAYS[dtype].from({ length }, (_, at) => integer(value(at))) });
    const mask = new Float32Array(length * (slots + length));
    for (let at = 0; at < length; at += 1) {
      for (let slot = 0; slot < slots; slot += 1) {
        const back = (((start - 1 - slot) % context) + context) % context; // how long ago the slot was written
        const held = start - 1 - back;
        if (held < 0 || held <= start + at - context) mask[at * (slots + length) + slot] = masked;
      }
      mask.fill(masked, at * (slots + length) + slots + at + 1, (at + 1) * (slots + length));
    }
    const outputs = await this.model.run({
      input_ids: row((at) => (at < count ? ids[at] : 0)),
      position_ids: row((at) => Math.min(start + at, last)),
      attention_mask: { dtype: "<f4", shape: [1, 1, length, slots + length], data: mask },
      ...this.arrays,
    });
    this.keep(outputs, start % context, count, length);
    this.length += count;
    return { count, data: outputs.logits.data.subarray(0, count * vocabulary) };
  }

  keep(outputs, place, count, length) {
    const { context, kv_heads: heads, head_dim: dim } = this.about;
    if (place + count > this.slots) this.grow(Math.min(context, Math.ceil((place + count) / STEP) * STEP));
    for (const [past, added] of this.names) {
      for (let head = 0; head < heads; head += 1) {
        const from = head * length * dim;
        this.arrays[past].data.set(outputs[added].data.subarray(from, from + count * dim), (head * this.slots + place) * dim);
      }
    }
  }

  grow(slots) {
    const { kv_heads: heads, head_dim: dim } = this.about;
    for (const [past] of this.names) {
      const data = new Float32Array(heads * slots * dim);
      const before = this.arrays[past]?.data;
      for (let head = 0; before && head < heads; head += 1) {
        data.set(before.subarray(head * this.slots * dim, (head + 1) * this.slots * dim), head * slots * dim);
      }
      this.arrays[past] = { dtype: "<f4", shape: [1, heads, slots, dim], data };
    }
    this.slots = slots;
  }
}

/** How likely a text is: nll [n - 1] in nats, the likeliest token [n] after each, and the last logits. */
export async function score(decoder, ids) {
  const { vocabulary } = decoder.about;
  const nll = new Float32Array(ids.length - 1);
  const token = new BigInt64Array(ids.length);
  let [done, logits] = [0, null];
  decoder.reset();
  for await (const { count, data } of decoder.passes(ids)) {
    for (let at = 0; at < count; at += 1, done += 1) {
      logits = data.subarray(at * vocabulary, (at + 1) * vocabulary);
      const best = likeliest(logits);
      token[done] = BigInt(best);
      if (done + 1 === ids.length) break;
      let total = 0;
      for (const value of logits) total += Math.exp(value - logits[best]);
      nll[done] = logits[best] + Math.log(total) - logits[ids[done + 1]];
    }
  }
  return {
    nll: { dtype: "<f4", shape: [nll.length], data: nll },
    token: { dtype: "<i8", shape: [token.length], data: token },
    logits: { dtype: "<f4", shape: [vocabulary], data: logits.slice() },
  };
}

/** Go on with a text; as decoder.py's `generate`. Gives the tokens and nanoseconds for each, the prompt's first. */
export async function generate(decoder, ids, sampling, tell) {
  const sample = sampler(sampling);
  const [tokens, times] = [[], []];
  decoder.reset();
  let before = performance.now();
  let given = ids;
  for (;;) {
    let logits;
    for await (const { count, data } of decoder.passes(given)) logits = data.subarray((count - 1) * decoder.about.vocabulary);
    const next = sample(logits);
    times.push(Math.round((performance.now() - before) * 1e6));
    if (sampling.stop_ids.includes(next)) return { tokens, times };
    tokens.push(next);
    await tell(next);
    before = performance.now(); // telling goes over HTTP, which is none of the model's time
    if (tokens.length === sampling.count || decoder.full) return { tokens, times };
    given = [next];
  }
}

export function likeliest(logits) {
  let best = 0;
  for (let at = 1; at < logits.length; at += 1) if (logits[at] > logits[best]) best = at;
  return best;
}

/** As decoder.py's Sampler, but for the numbers drawn: those of mulberry32, seeded alike but not NumPy's. */
function sampler({ temperature, top_k: topK, top_p: topP, seed }) {
  let state = seed >>> 0;
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return (logits) => {
    if (temperature <= 0) return likeliest(logits);
    let order = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);
    if (topK) order = order.slice(0, topK);
    const shares = order.map((id) => Math.exp((logits[id] - logits[order[0]]) / temperature));
    const all = shares.reduce((sum, share) => sum + share, 0);
    let [kept, sum] = [0, 0];
    while (kept < order.length && (kept === 0 || sum < topP * all)) sum += shares[kept++];
    let left = random() * sum;
    let chosen = 0;
    while (chosen < kept - 1 && (left -= shares[chosen]) >= 0) chosen += 1;
    return order[chosen];
  };
}

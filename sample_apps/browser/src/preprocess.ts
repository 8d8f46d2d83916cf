// Text to token ids, exactly as the bundle's `preprocess` says: what Python does for calibration and evaluation.

import { addSpecials, countSpecials, type Encoded, type PostProcessor } from "./specials";
import type { Sample } from "./tensors";
import { openTokenizer, type TokenizerFile } from "./tokenizer";

type TextInput = "input_ids" | "attention_mask" | "token_type_ids" | "position_ids";

export interface TokenizerPreprocess {
  kind: "tokenizer";
  max_length: number;
  fields: string[];
  inputs: TextInput[];
  dtype: "int64" | "int32";
  lengths: number[];
  pad_id: number;
  pad_type_id: number;
  truncation_side: "right" | "left";
}

export interface Prepared {
  inputs: Sample;
  tokens: number;
  cut: boolean;
}

export class EmptyText extends Error {}

/** Encodes texts for one bundle. */
export class TextPreprocess {
  private readonly ids: (text: string) => number[];
  private readonly processor: PostProcessor | undefined;
  readonly pair: boolean;

  constructor(
    private readonly rules: TokenizerPreprocess,
    file: TokenizerFile,
  ) {
    this.ids = openTokenizer(file);
    this.processor = file.post_processor;
    this.pair = rules.fields.length === 2;
  }

  /** Arrays [1, tokens] of the names that the model takes. `second` counts only where the bundle takes two texts. */
  encode(first: string, second = ""): Prepared {
    const one = this.ids(first);
    const two = this.pair ? this.ids(second) : null;
    const room = this.rules.max_length - countSpecials(this.processor, this.pair);
    if (room < 1) throw new Error(`special tokens leave no room in a max_length of ${this.rules.max_length}`);
    const [keepOne, keepTwo] = share(one.length, two?.length ?? null, room);
    const encoded = addSpecials(this.processor, this.cut(one, keepOne), two && this.cut(two, keepTwo));
    if (encoded.ids.length === 0) throw new EmptyText("The text is empty.");
    const cut = keepOne < one.length || keepTwo < (two?.length ?? 0);
    return { inputs: this.arrays(encoded), tokens: encoded.ids.length, cut };
  }

  private cut(ids: number[], length: number): number[] {
    return this.rules.truncation_side === "right" ? ids.slice(0, length) : ids.slice(ids.length - length);
  }

  private arrays({ ids, types }: Encoded): Sample {
    const { lengths, pad_id, pad_type_id, dtype, inputs } = this.rules;
    const length = lengths.length === 0 ? ids.length : Math.min(...lengths.filter((one) => one >= ids.length));
    const padding = length - ids.length;
    const filled = (values: number[], value: number) => [...values, ...Array<number>(padding).fill(value)];
    const values: Record<TextInput, number[]> = {
      input_ids: filled(ids, pad_id),
      token_type_ids: filled(types, pad_type_id),
      attention_mask: filled(Array<number>(ids.length).fill(1), 0),
      position_ids: Array.from({ length }, (_, position) => position),
    };
    const sample: Sample = {};
    for (const name of inputs) {
      const data = dtype === "int64" ? BigInt64Array.from(values[name], BigInt) : Int32Array.from(values[name]);
      sample[name] = { dtype, shape: [1, length], data };
    }
    return sample;
  }
}

/** How many tokens of each text stay in `room`: the longer one is cut first, as the tokenizers library does. */
export function share(first: number, second: number | null, room: number): [number, number] {
  if (second === null) return [Math.min(first, room), 0];
  if (first + second <= room) return [first, second];
  const shorter = Math.min(first, second);
  let [low, high] = [shorter, Math.max(shorter, room - shorter)];
  if (low + high > room) {
    low = Math.floor(room / 2);
    high = room - low;
  }
  return first > second ? [high, low] : [low, high];
}

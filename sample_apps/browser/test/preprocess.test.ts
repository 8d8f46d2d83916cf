// What edgeexport's Python makes of the same texts: vectors.json, and whatever file EDGEEXPORT_VECTORS names.

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { EmptyText, share, TextPreprocess, type TokenizerPreprocess } from "../src/preprocess";
import { numbers } from "../src/scores";
import type { TokenizerFile } from "../src/tokenizer";

interface Vectors {
  tokenizers: Record<string, TokenizerFile>;
  groups: {
    tokenizer: string;
    name: string;
    preprocess: TokenizerPreprocess;
    cases: { texts: [string, string?]; arrays: Record<string, number[]> | null }[];
  }[];
}

const own = new URL("vectors.json", import.meta.url).pathname;
const files = [own, ...(process.env.EDGEEXPORT_VECTORS ? [process.env.EDGEEXPORT_VECTORS] : [])];

describe.each(files)("%s", (file) => {
  const { tokenizers, groups }: Vectors = JSON.parse(readFileSync(file, "utf8"));
  test.each(groups)("$tokenizer, $name: the same arrays as in Python", ({ tokenizer, preprocess, cases }) => {
    const encoder = new TextPreprocess(preprocess, tokenizers[tokenizer] as TokenizerFile);
    expect(cases.length).toBeGreaterThan(0);
    for (const { texts, arrays } of cases) {
      if (arrays === null) {
        expect(() => encoder.encode(...texts)).toThrow(EmptyText);
        continue;
      }
      const { inputs, tokens } = encoder.encode(...texts);
      const found = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, numbers(tensor)]));
      expect(found, JSON.stringify(texts)).toEqual(arrays);
      for (const tensor of Object.values(inputs)) {
        expect(tensor.dtype).toBe(preprocess.dtype);
        expect(tensor.shape).toEqual([1, tensor.data.length]);
      }
      expect(tokens).toBe(arrays.attention_mask?.reduce((sum, one) => sum + one, 0) ?? tokens);
    }
  });
});

test("of two texts the longer is cut first, and an odd place goes to it", () => {
  expect(share(3, null, 5)).toEqual([3, 0]);
  expect(share(9, null, 5)).toEqual([5, 0]);
  expect(share(3, 4, 7)).toEqual([3, 4]);
  expect(share(2, 9, 7)).toEqual([2, 5]);
  expect(share(9, 2, 7)).toEqual([5, 2]);
  expect(share(9, 8, 7)).toEqual([4, 3]);
  expect(share(8, 9, 7)).toEqual([3, 4]);
  expect(share(9, 9, 7)).toEqual([3, 4]);
});

test("what a tokenizer adds by a step that is not known is refused", () => {
  const { tokenizers, groups }: Vectors = JSON.parse(readFileSync(own, "utf8"));
  const rules = groups[0]?.preprocess as TokenizerPreprocess;
  const known = tokenizers.bert?.post_processor;
  const twice = { ...tokenizers.bert, post_processor: { type: "Sequence", processors: [known, known] } } as TokenizerFile;
  expect(() => new TextPreprocess(rules, twice).encode("a")).toThrow("several steps");
});

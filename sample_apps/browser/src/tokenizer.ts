// tokenizer.json in the library that reads it here, with the steps mended in which it differs from the one in Python.

import { Tokenizer } from "@huggingface/tokenizers";
import type { PostProcessor } from "./specials";

const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";

type PreTokenizer = { type: string; pretokenizers?: PreTokenizer[]; [key: string]: unknown };

type Normalizer = { type: string; lowercase?: boolean; normalizers?: Normalizer[]; [key: string]: unknown };

export interface TokenizerFile {
  normalizer?: Normalizer | null;
  model: { type?: string; vocab?: unknown; unk_token?: string | null; [key: string]: unknown };
  pre_tokenizer?: PreTokenizer | null;
  post_processor?: PostProcessor;
  [key: string]: unknown;
}

/** Gives the ids of a text, special tokens left out. */
export function openTokenizer(file: TokenizerFile): (text: string) => number[] {
  const tokenizer = new Tokenizer({ ...file, pre_tokenizer: mended(file.pre_tokenizer ?? null) }, {});
  const unknown = idOfUnknown(file.model);
  const lowers = lowercases(file.normalizer ?? null);
  return (text) => {
    // JavaScript gives the Σ that ends a word another small letter; Rust, which takes letters one by one, does not.
    const given = lowers ? text.replaceAll("Σ", "σ") : text;
    const { ids, tokens }: { ids: (number | undefined)[]; tokens: string[] } = tokenizer.encode(given, {
      add_special_tokens: false,
    });
    return ids.map((id, index) => {
      const known = id ?? unknown;
      if (known === undefined) throw new Error(`the tokenizer has no id for '${tokens[index]}', nor one for unknown words`);
      return known;
    });
  };
}

/** Gives the text of ids, special ones as they are written. */
export function openDecoding(file: TokenizerFile): (ids: number[]) => string {
  const tokenizer = new Tokenizer(file, {});
  return (ids) => (ids.length === 0 ? "" : tokenizer.decode(ids, { skip_special_tokens: false }));
}

function lowercases(step: Normalizer | null): boolean {
  if (step?.type === "Sequence") return (step.normalizers ?? []).some(lowercases);
  return step?.type === "Lowercase" || (step?.type === "BertNormalizer" && step.lowercase !== false);
}

/** `Whitespace` would split at every letter beyond ASCII; a `Split` by the words that Rust's \w matches does not. */
function mended(step: PreTokenizer | null): PreTokenizer | null {
  if (step?.type === "Sequence") {
    return { ...step, pretokenizers: (step.pretokenizers ?? []).map((one) => mended(one) as PreTokenizer) };
  }
  if (step?.type !== "Whitespace") return step;
  return { type: "Split", pattern: { Regex: `[${WORD}]+|[^${WORD}\\p{White_Space}]+` }, behavior: "Removed", invert: true };
}

/** Of a vocabulary of whole words, for which the library leaves an unknown one without an id. */
function idOfUnknown({ vocab, unk_token }: TokenizerFile["model"]): number | undefined {
  if (typeof vocab !== "object" || vocab === null || Array.isArray(vocab) || typeof unk_token !== "string") return undefined;
  return (vocab as Record<string, number>)[unk_token];
}

// What a tokenizer adds around one text or two: the `post_processor` of tokenizer.json.

export interface Encoded {
  ids: number[];
  types: number[];
}

type Piece = { Sequence: { id: "A" | "B"; type_id: number } } | { SpecialToken: { id: string; type_id: number } };

export type PostProcessor =
  | null
  | { type: "TemplateProcessing"; single: Piece[]; pair: Piece[]; special_tokens: Record<string, { ids: number[] }> }
  | { type: "BertProcessing" | "RobertaProcessing"; cls: [string, number]; sep: [string, number] }
  | { type: "ByteLevel" }
  | { type: "Sequence"; processors: PostProcessor[] };

/** Put one text's ids, or two texts', together with special tokens. */
export function addSpecials(processor: PostProcessor | undefined, first: number[], second: number[] | null): Encoded {
  const steps = flatten(processor ?? null);
  const template = steps.at(-1) ?? null;
  if (steps.length > 1) throw new Error("tokenizer.json has several steps that add special tokens; this app knows one");
  const texts = { A: first, B: second ?? [] };
  const encoded: Encoded = { ids: [], types: [] };
  for (const [ids, type] of layout(template, second !== null)) {
    const added = typeof ids === "string" ? texts[ids] : ids;
    encoded.ids.push(...added);
    encoded.types.push(...added.map(() => type));
  }
  return encoded;
}

/** How many tokens are added to one text, or to two. */
export function countSpecials(processor: PostProcessor | undefined, pair: boolean): number {
  return addSpecials(processor, [], pair ? [] : null).ids.length;
}

/** The steps that add tokens: trimming offsets, which ByteLevel does, changes none. */
function flatten(processor: PostProcessor): Exclude<PostProcessor, null>[] {
  if (processor === null || processor.type === "ByteLevel") return [];
  return processor.type === "Sequence" ? processor.processors.flatMap(flatten) : [processor];
}

/** Token ids, or the text that stands there, each with its token type. */
function layout(processor: PostProcessor, pair: boolean): [number[] | "A" | "B", number][] {
  switch (processor?.type) {
    case undefined:
      return pair ? [["A", 0], ["B", 1]] : [["A", 0]];
    case "TemplateProcessing":
      return (pair ? processor.pair : processor.single).map((piece) =>
        "Sequence" in piece
          ? [piece.Sequence.id, piece.Sequence.type_id]
          : [special(processor.special_tokens, piece.SpecialToken.id), piece.SpecialToken.type_id],
      );
    case "BertProcessing": {
      const [cls, sep] = [[processor.cls[1]], [processor.sep[1]]];
      return pair ? [[cls, 0], ["A", 0], [sep, 0], ["B", 1], [sep, 1]] : [[cls, 0], ["A", 0], [sep, 0]];
    }
    case "RobertaProcessing": {
      const [cls, sep] = [[processor.cls[1]], [processor.sep[1]]];
      return pair ? [[cls, 0], ["A", 0], [sep, 0], [sep, 0], ["B", 0], [sep, 0]] : [[cls, 0], ["A", 0], [sep, 0]];
    }
    default:
      throw new Error(`tokenizer.json adds special tokens by ${processor?.type}, which this app does not know`);
  }
}

function special(known: Record<string, { ids: number[] }>, name: string): number[] {
  const ids = known[name]?.ids;
  if (ids === undefined) throw new Error(`tokenizer.json's template names ${name}, which has no id`);
  return ids;
}

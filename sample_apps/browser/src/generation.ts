// Going on with a text: the form, and what is shown as tokens come.

import type { Bundle } from "./bundle";
import { type About, Decoder, generate } from "./decoder";
import type { Model } from "./model";
import { element, showContinued, showProblem } from "./page";
import { TextPreprocess } from "./preprocess";
import { openDecoding, type TokenizerFile } from "./tokenizer";

const COUNT = 64;

/** Offer the form. `say` words what went wrong. */
export async function offerGeneration(
  bundle: Bundle,
  model: Model,
  about: About,
  say: (problem: unknown) => string,
): Promise<void> {
  const { preprocess } = bundle.manifest;
  if (preprocess.kind !== "tokenizer") return;
  const file = await bundle.json<TokenizerFile>("tokenizer.json");
  const [encoder, decode] = [new TextPreprocess(preprocess, file), openDecoding(file)];
  const decoder = new Decoder(about, (inputs) => model.run(inputs));
  const prompt = element<HTMLTextAreaElement>("prompt");
  const go = element<HTMLButtonElement>("go");

  const goOn = async (): Promise<void> => {
    go.disabled = true;
    delete document.body.dataset.continued;
    try {
      const text = prompt.value;
      const { inputs, cut } = encoder.encode(text);
      if (cut) throw new Error(`The text has more tokens than the ${preprocess.max_length} that the model takes.`);
      const ids = Array.from((inputs.input_ids as { data: BigInt64Array }).data, Number);
      const tokens: number[] = [];
      showProblem(null);
      const times = await generate(decoder, ids, COUNT, async (token) => {
        tokens.push(token);
        showContinued(text, decode(tokens), "");
        await new Promise((next) => setTimeout(next)); // so that the page shows it
      });
      const middle = [...times.slice(1)].sort((a, b) => a - b)[Math.floor((times.length - 1) / 2)] ?? 0;
      showContinued(text, decode(tokens), `${tokens.length} tokens, ${middle.toFixed(1)} ms each.`);
    } catch (problem) {
      showProblem(prompt.value === "" ? "There is nothing to go on from yet. Type a text." : say(problem));
    }
    go.disabled = false;
    document.body.dataset.continued = "yes";
  };

  element("generate-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void goOn();
  });
  element("generate").hidden = false;
}

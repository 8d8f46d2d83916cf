// Load the bundle beside this page, then classify what is typed and test the model on request.

import { Bundle, type Manifest } from "./bundle";
import { Decoder, score } from "./decoder";
import { offerGeneration } from "./generation";
import { Model, RUNTIME } from "./model";
import { element, showFacts, showLoading, showProblem, showResult, showSelfTest } from "./page";
import { EmptyText, TextPreprocess } from "./preprocess";
import { predictions } from "./scores";
import { selfTest } from "./selftest";
import type { Sample } from "./tensors";
import type { TokenizerFile } from "./tokenizer";

const first = element<HTMLTextAreaElement>("first");
const second = element<HTMLTextAreaElement>("second");
const run = element<HTMLButtonElement>("run");

function say(problem: unknown): string {
  return problem instanceof Error ? problem.message : `The runtime failed: ${String(problem)}`;
}

async function start(): Promise<void> {
  const bundle = await Bundle.open(new URL("bundle/", document.baseURI).href);
  const { manifest } = bundle;
  showFacts(manifest, RUNTIME);
  const model = await Model.load(bundle, (received, total) => {
    const size = `${(received / 1e6).toFixed(1)} MB`;
    showLoading(`Loading the model: ${size}`, total > 0 ? received / total : undefined);
  });
  offerSelfTest(bundle, model);
  const unfit = reasonAgainst(manifest);
  if (unfit !== null) showProblem(unfit);
  else if (manifest.decoder) await offerGeneration(bundle, model, manifest.decoder, say);
  else await offerClassification(bundle, model);
  element("loading").hidden = true;
  document.body.dataset.state = "ready";
}

/** Why nothing can be typed for this bundle; null where it can. */
function reasonAgainst({ preprocess, task, decoder }: Manifest): string | null {
  const takes = { image: "images", "log-mel": "recordings", none: "arrays" };
  if (preprocess.kind !== "tokenizer") {
    return `This bundle's model takes ${takes[preprocess.kind]}, and this app classifies text. The self-test runs all the same.`;
  }
  return task === "classification" || decoder ? null : "This bundle's model gives no classes. The self-test runs all the same.";
}

async function offerClassification(bundle: Bundle, model: Model): Promise<void> {
  const { preprocess, labels } = bundle.manifest;
  if (preprocess.kind !== "tokenizer") return;
  const encoder = new TextPreprocess(preprocess, await bundle.json<TokenizerFile>("tokenizer.json"));
  const [one, two] = preprocess.fields;
  element("first-label").textContent = encoder.pair && one ? one : "Text";
  element("first-label").classList.toggle("only", !encoder.pair);
  element("second-row").hidden = !encoder.pair;
  if (two) element("second-label").textContent = two;

  showLoading("Warming up…");
  await model.run(encoder.encode("a", "a").inputs); // the first run compiles: it is not what others take

  let asked = 0; // an answer that was overtaken by a later question is not shown
  const classify = async (): Promise<void> => {
    asked += 1;
    const mine = asked;
    try {
      const { inputs, tokens, cut } = encoder.encode(first.value, second.value);
      const began = performance.now();
      const outputs = await model.run(inputs);
      const milliseconds = (performance.now() - began).toFixed(1);
      if (mine !== asked) return;
      const length = cut ? `the first ${tokens} tokens of a longer text` : `${tokens} tokens`;
      showProblem(null);
      showResult(predictions(outputs, labels), `${length[0]?.toUpperCase()}${length.slice(1)}, ${milliseconds} ms.`);
    } catch (problem) {
      element("result").hidden = true;
      showProblem(problem instanceof EmptyText ? "There is nothing to classify yet. Type a text." : say(problem));
    }
    document.body.dataset.answered = String(mine);
  };

  element("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (first.value.trim() === "") {
      element("result").hidden = true;
      showProblem("There is nothing to classify yet. Type a text.");
      first.focus();
    } else void classify();
  });
  for (const field of [first, second]) {
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      element<HTMLFormElement>("form").requestSubmit();
    });
  }
  element("classify").hidden = false;
}

function offerSelfTest(bundle: Bundle, model: Model): void {
  const { golden, task, decoder } = bundle.manifest;
  const text = decoder ? new Decoder(decoder, (inputs) => model.run(inputs)) : null;
  element("check-about").textContent =
    `Runs the bundle's ${golden.samples} golden samples and compares with the float32 model's outputs.`;
  run.addEventListener("click", async () => {
    run.disabled = true;
    try {
      const test = await selfTest(
        bundle,
        (inputs) => (text ? score(text, idsOf(inputs)) : model.run(inputs)),
        async (done, of) => {
          run.textContent = `${done} of ${of}`;
          await new Promise((next) => setTimeout(next));
        },
      );
      showSelfTest(test, task === "classification");
    } catch (problem) {
      showProblem(`The self-test could not be run: ${say(problem)}`);
    }
    run.disabled = false;
    run.textContent = "Run self-test";
  });
  element("check").hidden = false;
}

function idsOf(inputs: Sample): number[] {
  return Array.from(inputs.input_ids?.data as BigInt64Array, Number);
}

start().catch((problem: unknown) => {
  element("loading").hidden = true;
  element("title").textContent = "edgeexport in the browser";
  showProblem(say(problem));
  document.body.dataset.state = "failed";
});

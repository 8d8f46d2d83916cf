// The page's elements, and what is written into them.

import type { Manifest } from "./bundle";
import type { Prediction } from "./scores";
import type { SelfTest } from "./selftest";

export function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no element '${id}'`);
  return found as T;
}

function made<K extends keyof HTMLElementTagNameMap>(tag: K, text = ""): HTMLElementTagNameMap[K] {
  const created = document.createElement(tag);
  created.textContent = text;
  return created;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}\u00a0%`;
}

/** As short as it can be told apart from zero. */
function small(value: number): string {
  return value !== 0 && value < 0.001 ? value.toExponential(1) : value.toFixed(3);
}

export function showFacts(manifest: Manifest, runtime: string): void {
  const name = manifest.source.name.split("/").at(-1) ?? "";
  element("title").textContent = name;
  document.title = `${name} · edgeexport in the browser`;
  element("facts").replaceChildren(...[manifest.precision, manifest.task, runtime].map((fact) => made("li", fact)));
}

export function showLoading(text: string, share?: number): void {
  element("loading-text").textContent = text;
  const bar = element<HTMLProgressElement>("loading-bar");
  if (share === undefined) bar.removeAttribute("value");
  else bar.value = share;
}

export function showProblem(problem: string | null): void {
  element("problem").hidden = problem === null;
  element("problem").textContent = problem ?? "";
}

export function showResult(classes: readonly Prediction[], note: string): void {
  const ranked = [...classes].sort((a, b) => b.probability - a.probability);
  const [best] = ranked;
  if (best === undefined) return;
  element("label").textContent = best.label;
  element("probability").textContent = percent(best.probability);
  element("classes").replaceChildren(
    ...ranked.map(({ label, probability }) => {
      const [row, bar] = [made("li"), made("progress")];
      bar.max = 1;
      bar.value = probability;
      bar.setAttribute("aria-hidden", "true"); // the figure beside it says the same
      row.append(made("span", label), bar, made("span", percent(probability)));
      return row;
    }),
  );
  element("note").textContent = note;
  element("result").hidden = false;
}

/** What a language model made of a prompt. */
export function showContinued(prompt: string, continued: string, note: string): void {
  const text = element("continued");
  text.replaceChildren(made("span", prompt), made("strong", continued));
  text.hidden = false;
  element("generate-note").textContent = note;
}

export function showSelfTest(test: SelfTest, classes: boolean): void {
  const verdict = element("verdict");
  verdict.dataset.verdict = test.verdict;
  verdict.replaceChildren(made("strong", test.verdict === "pass" ? "✓ Passed" : "✗ Failed"), `: ${test.reason}.`);
  const figures: [string, string][] = [
    ["Largest difference", small(test.largest)],
    ["Lowest cosine", Math.min(...test.samples.map(({ cosine }) => cosine)).toFixed(4)],
    ["Time a sample", `${(test.milliseconds / test.samples.length).toFixed(1)} ms`],
  ];
  element("figures").replaceChildren(
    ...figures.map(([name, value]) => {
      const group = made("div");
      group.append(made("dt", name), made("dd", value));
      return group;
    }),
  );
  element("samples").replaceChildren(
    ...test.samples.map(({ largest, cosine, sameClass }, number) => {
      const row = made("tr");
      const label = classes ? (sameClass ? "same" : "differs") : "–";
      row.append(...[String(number + 1), small(largest), cosine.toFixed(4), label].map((text) => made("td", text)));
      return row;
    }),
  );
  element("outcome").hidden = false;
}

// From a model's outputs to labels, and how far two sets of outputs are apart.

import type { Sample, Tensor } from "./tensors";

export interface Prediction {
  label: string;
  probability: number;
}

export function numbers(tensor: Tensor): number[] {
  return Array.from(tensor.data as ArrayLike<number | bigint>, Number);
}

export function softmax(scores: readonly number[]): number[] {
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - most));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** The index of the largest score; the first, where several are. */
export function argmax(scores: readonly number[]): number {
  return scores.reduce((best, score, index) => (score > (scores[best] as number) ? index : best), 0);
}

/** The classes of one sample, in the bundle's order, from the first output: scores [1, classes]. */
export function predictions(outputs: Sample, labels: readonly string[] | null): Prediction[] {
  const first = Object.values(outputs)[0];
  if (first === undefined) throw new Error("the model gave no output");
  return softmax(numbers(first)).map((probability, index) => ({ label: labels?.[index] ?? `class ${index}`, probability }));
}

export interface Difference {
  largest: number;
  cosine: number;
  sameClass: boolean;
}

/** Compare outputs with golden ones: all of a sample's values, and the class of its first output. */
export function compare(outputs: Sample, golden: Sample): Difference {
  let [largest, dot, one, two] = [0, 0, 0, 0];
  for (const [name, expected] of Object.entries(golden)) {
    const found = outputs[name];
    if (found === undefined || found.shape.join() !== expected.shape.join()) {
      throw new Error(`output '${name}' is [${found?.shape ?? "missing"}], the golden one is [${expected.shape}]`);
    }
    const [a, b] = [numbers(found), numbers(expected)];
    a.forEach((value, index) => {
      const reference = b[index] as number;
      const apart = Math.abs(value - reference);
      largest = Number.isNaN(apart) ? Infinity : Math.max(largest, apart);
      dot += value * reference;
      one += value * value;
      two += reference * reference;
    });
  }
  const [first] = Object.keys(golden);
  const [a, b] = [outputs, golden].map((sample) => argmax(numbers(sample[first as string] as Tensor)));
  const lengths = Math.sqrt(one) * Math.sqrt(two);
  return { largest, cosine: lengths === 0 ? Number(one === two) : dot / lengths, sameClass: a === b };
}

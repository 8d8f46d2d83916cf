import { expect, test } from "vitest";
import { argmax, compare, predictions, softmax } from "../src/scores";
import type { Sample } from "../src/tensors";

function sample(values: number[], name = "logits"): Sample {
  return { [name]: { dtype: "float32", shape: [1, values.length], data: Float32Array.from(values) } };
}

test("softmax keeps its precision far from zero", () => {
  const [a, b] = softmax([1000, 1001]);
  expect(a).toBeCloseTo(1 / (1 + Math.E), 12);
  expect(b).toBeCloseTo(Math.E / (1 + Math.E), 12);
});

test("classes carry the bundle's labels in its order, or their numbers", () => {
  const given = predictions(sample([0, Math.log(3)]), ["no", "yes"]);
  expect(given.map(({ label }) => label)).toEqual(["no", "yes"]);
  expect(given[1]?.probability).toBeCloseTo(0.75, 6);
  expect(predictions(sample([0, 1]), null).map(({ label }) => label)).toEqual(["class 0", "class 1"]);
});

test("the first of equal scores is the class, as in numpy", () => {
  expect(argmax([1, 3, 3])).toBe(1);
});

test("differences: the largest, the cosine and the class", () => {
  const same = compare(sample([3, 4]), sample([3, 4]));
  expect(same).toEqual({ largest: 0, cosine: 1, sameClass: true });
  const turned = compare(sample([4, 3]), sample([3, 4]));
  expect(turned.largest).toBe(1);
  expect(turned.cosine).toBeCloseTo(24 / 25, 12);
  expect(turned.sameClass).toBe(false);
});

test("a value that is no number is an infinite difference, and stays one", () => {
  expect(compare(sample([NaN, 4]), sample([3, 4])).largest).toBe(Infinity);
  expect(compare(sample([3, Infinity]), sample([3, 4])).largest).toBe(Infinity);
});

test("an output that is missing, or of another shape, is no difference but an error", () => {
  expect(() => compare(sample([1]), sample([1], "scores"))).toThrow("output 'scores' is [missing]");
  expect(() => compare(sample([1, 2, 3]), sample([1, 2]))).toThrow("output 'logits' is [1,3], the golden one is [1,2]");
});

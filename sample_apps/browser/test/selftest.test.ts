import { expect, test } from "vitest";
import type { Bundle, Manifest } from "../src/bundle";
import { judge, selfTest } from "../src/selftest";
import type { Sample } from "../src/tensors";

const right = { largest: 0.1, cosine: 0.999, sameClass: true };
const wrong = { largest: 0.2, cosine: -0.5, sameClass: false };

function about(task: string, limits: object): Pick<Bundle, "manifest"> {
  return { manifest: { task, recipe: { settings: { limits } } } as Manifest };
}

test("classes are judged by agreement, and by all where the bundle has no limit", () => {
  const three = [right, right, right, wrong];
  expect(judge(three, about("classification", { agreement: 0.75 })).verdict).toBe("pass");
  expect(judge(three, about("classification", { agreement: 0.76 })).verdict).toBe("fail");
  expect(judge(three, about("classification", { agreement: null })).verdict).toBe("fail");
  expect(judge([right], about("classification", {})).verdict).toBe("pass");
  expect(judge(three, about("classification", { agreement: 0.97 })).reason).toBe(
    "3 of 4 labels are those of the float32 model; 97\u00a0% must be",
  );
});

test("everything else by cosine", () => {
  expect(judge([right, wrong], about("embedding", { cosine_min: -0.6 })).verdict).toBe("pass");
  expect(judge([right, wrong], about("embedding", { cosine_min: 0.9 })).verdict).toBe("fail");
});

test("no sample, and a value that is no number, never pass", () => {
  expect(judge([], about("classification", { agreement: 0 })).verdict).toBe("fail");
  expect(judge([{ ...right, largest: Infinity }], about("classification", { agreement: 0 })).verdict).toBe("fail");
});

/** A bundle with two golden samples of the lengths 1 and 2, whose expected output is twice the input. */
function golden(): Bundle {
  const index = (name: string) => ({ names: [name], dtypes: ["<f4"], shapes: [[[1, 1]], [[1, 2]]] });
  const files: Record<string, Uint8Array> = {
    "golden/inputs/index.json": new TextEncoder().encode(JSON.stringify(index("x"))),
    "golden/outputs/index.json": new TextEncoder().encode(JSON.stringify(index("y"))),
    "golden/inputs/0.bin": new Uint8Array(Float32Array.of(1, 2, 3).buffer),
    "golden/outputs/0.bin": new Uint8Array(Float32Array.of(2, 4, 6).buffer),
  };
  return { ...about("generic", { cosine_min: 0.99 }), bytes: async (name: string) => files[name] } as unknown as Bundle;
}

const times = (factor: number) => async (inputs: Sample): Promise<Sample> => {
  const { shape, data } = inputs.x as Sample[string];
  return { y: { dtype: "float32", shape, data: Float32Array.from(data as Float32Array, (value) => value * factor) } };
};

test("golden samples are cut out of their streams and compared one by one", async () => {
  const seen: number[] = [];
  const test = await selfTest(golden(), times(2), async (done) => void seen.push(done));
  expect(test.samples.map(({ largest }) => largest)).toEqual([0, 0]);
  expect(test.verdict).toBe("pass");
  expect(seen).toEqual([1, 2]);
  const off = await selfTest(golden(), times(2.5));
  expect(off.samples.map(({ largest }) => largest)).toEqual([0.5, 1.5]);
  expect(off.largest).toBe(1.5);
  expect((await selfTest(golden(), times(-2))).verdict).toBe("fail");
});

test("a golden file that does not fit its index is an error", async () => {
  const short = golden();
  const bytes = short.bytes.bind(short);
  short.bytes = async (name) => (name.endsWith("inputs/0.bin") ? new Uint8Array(8) : bytes(name));
  await expect(selfTest(short, times(2))).rejects.toThrow("golden/inputs: 0.bin is shorter than its index says");
});

// The bundle's golden inputs through the model, against the float32 source's outputs.

import type { Bundle } from "./bundle";
import { compare, type Difference } from "./scores";
import { readStream, type Sample } from "./tensors";

export interface SelfTest {
  verdict: "pass" | "fail";
  reason: string;
  samples: Difference[];
  largest: number;
  milliseconds: number;
}

/** Run all golden samples. `breathe` is awaited between two, so that a page stays alive. */
export async function selfTest(
  bundle: Bundle,
  run: (inputs: Sample) => Promise<Sample>,
  breathe: (done: number, of: number) => Promise<void> = async () => {},
): Promise<SelfTest> {
  const file = (name: string) => bundle.bytes(name);
  const [inputs, golden] = [await readStream(file, "golden/inputs"), await readStream(file, "golden/outputs")];
  const samples: Difference[] = [];
  let milliseconds = 0;
  for (const [number, sample] of inputs.entries()) {
    const start = performance.now();
    const outputs = await run(sample);
    milliseconds += performance.now() - start;
    const { token: _, ...expected } = golden[number] as Sample; // ids of tokens are no amounts
    samples.push(compare(outputs, expected));
    await breathe(number + 1, inputs.length);
  }
  return { ...judge(samples, bundle), samples, largest: Math.max(...samples.map(({ largest }) => largest)), milliseconds };
}

/**
 * By the limits that the bundle carries, as `edgeexport verify` judges: classes by agreement, since two scores near a
 * boundary turn far for a tiny change, everything else by cosine. Without a limit every class must agree.
 */
export function judge(samples: readonly Difference[], bundle: Pick<Bundle, "manifest">): Pick<SelfTest, "verdict" | "reason"> {
  if (samples.length === 0) return { verdict: "fail", reason: "the bundle has no golden sample" };
  if (samples.some(({ largest }) => !Number.isFinite(largest))) {
    return { verdict: "fail", reason: "an output is not a finite number" };
  }
  const { task, recipe } = bundle.manifest;
  const { agreement, cosine_min } = recipe.settings.limits;
  if (task === "classification") {
    const same = samples.filter(({ sameClass }) => sameClass).length;
    const limit = agreement ?? 1;
    return {
      verdict: same / samples.length >= limit ? "pass" : "fail",
      reason: `${same} of ${samples.length} labels are those of the float32 model; ${percent(limit)} must be`,
    };
  }
  const least = Math.min(...samples.map(({ cosine }) => cosine));
  const limit = cosine_min ?? 0.99;
  return { verdict: least >= limit ? "pass" : "fail", reason: `cosine at least ${least.toFixed(4)}; ${limit} is the limit` };
}

function percent(share: number): string {
  return `${Number((100 * share).toFixed(2))}\u00a0%`;
}

// A bundle as `edgeexport export` writes it, read file by file over HTTP from the folder `bundle/` beside this page.

import type { About } from "./decoder";
import type { TokenizerPreprocess } from "./preprocess";

export interface TensorSpec {
  name: string;
  dtype: string;
  shape: (number | string)[];
}

export interface Manifest {
  schema_version: number;
  artifact: string;
  format: string;
  precision: string;
  task: string;
  decoder?: About | null;
  signature: { inputs: TensorSpec[]; outputs: TensorSpec[] };
  target: { name: string; title: string };
  recipe: { settings: { limits: { agreement?: number | null; cosine_min?: number | null } } };
  preprocess: TokenizerPreprocess | { kind: "image" | "log-mel" | "none" };
  labels: string[] | null;
  golden: { samples: number; origin: string };
  source: { name: string };
  files: Record<string, string>;
}

export type Progress = (received: number, total: number) => void;

export class BundleError extends Error {}

const SCHEMA = 1;

/** One bundle. Every file is compared with its hash in the manifest, where the browser lets a page compute one. */
export class Bundle {
  private constructor(
    readonly manifest: Manifest,
    private readonly base: string,
  ) {}

  static async open(base: string): Promise<Bundle> {
    const bytes = await download(new URL("manifest.json", base).href);
    let manifest: Manifest;
    try {
      manifest = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      throw new BundleError(`There is no bundle at ${base}: its manifest.json is not JSON.`);
    }
    if (manifest.schema_version !== SCHEMA) {
      throw new BundleError(`The bundle has schema ${manifest.schema_version}; this app reads ${SCHEMA}.`);
    }
    if (manifest.format !== "onnx") {
      throw new BundleError(
        `The bundle's model is in the format ${manifest.format}; this app runs ONNX. Export for a target that takes onnx.`,
      );
    }
    return new Bundle(manifest, base);
  }

  async bytes(name: string, progress?: Progress): Promise<Uint8Array<ArrayBuffer>> {
    const expected = this.manifest.files[name];
    if (expected === undefined) throw new BundleError(`The bundle's manifest names no ${name}.`);
    const bytes = await download(new URL(name, this.base).href, progress);
    const digest = await sha256(bytes);
    if (digest !== null && digest !== expected) {
      throw new BundleError(`${name} was altered since the bundle was packed. Export it again.`);
    }
    return bytes;
  }

  async json<T>(name: string): Promise<T> {
    return JSON.parse(new TextDecoder().decode(await this.bytes(name))) as T;
  }
}

async function download(url: string, progress?: Progress): Promise<Uint8Array<ArrayBuffer>> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new BundleError(`${url} cannot be reached. Is the server still running?`);
  }
  if (!response.ok || response.body === null) {
    throw new BundleError(`${url} is not there (status ${response.status}). Serve a bundle as the folder bundle/.`);
  }
  const total = Number(response.headers.get("Content-Length") ?? 0);
  const parts: Uint8Array[] = [];
  let received = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    received += value.byteLength;
    progress?.(received, total);
  }
  const whole = new Uint8Array(received);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.byteLength;
  }
  return whole;
}

/** In hexadecimal; null where the page is not served from https or this machine, and so may not compute it. */
async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string | null> {
  if (globalThis.crypto?.subtle === undefined) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

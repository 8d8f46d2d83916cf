import { createReadStream, statSync } from "node:fs";
import { join, resolve, sep } from "node:path";
import { defineConfig, type Plugin } from "vite";

// The built page may talk to the server it came from and to nobody else. WebAssembly is compiled, never evaluated text.
const POLICY = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self' data:",
  "worker-src 'self' blob:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

const policy: Plugin = {
  name: "content-security-policy",
  apply: "build",
  transformIndexHtml: () => [
    { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: POLICY }, injectTo: "head-prepend" },
  ],
};

/** While developing, the folder that BUNDLE names is served as bundle/. */
const bundle: Plugin = {
  name: "serve-bundle",
  configureServer(server) {
    const folder = process.env.BUNDLE && resolve(process.env.BUNDLE);
    server.middlewares.use("/bundle/", (request, response, next) => {
      if (!folder) return next(new Error("Name a bundle: BUNDLE=path/to/bundle npm run dev"));
      const path = join(folder, decodeURIComponent(new URL(request.url ?? "", "http://here").pathname));
      const found = path.startsWith(folder + sep) ? statSync(path, { throwIfNoEntry: false }) : undefined;
      if (!found?.isFile()) {
        response.statusCode = 404;
        return response.end();
      }
      response.setHeader("Content-Length", found.size);
      return createReadStream(path).pipe(response);
    });
  },
};

export default defineConfig({
  base: "./",
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { host: "127.0.0.1" },
  plugins: [policy, bundle],
});

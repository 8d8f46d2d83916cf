// Serve the built app with a bundle, on this machine only: node scripts/serve.mjs BUNDLE [PORT]

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};
const HOST = "127.0.0.1";

const [bundle, port = "8080"] = process.argv.slice(2);
const app = join(dirname(dirname(fileURLToPath(import.meta.url))), "dist");

function fail(text) {
  console.error(text);
  process.exit(2);
}

function file(folder, name) {
  if (name.includes("\0")) return null;
  const path = resolve(folder, name);
  return path.startsWith(resolve(folder) + sep) && statSync(path, { throwIfNoEntry: false })?.isFile() ? path : null;
}

if (bundle === undefined) fail("Name the bundle: npm run serve -- path/to/bundle [port]");
if (file(bundle, "manifest.json") === null) fail(`${bundle} is no bundle: it has no manifest.json. \`edgeexport export\` makes one.`);
if (file(app, "index.html") === null) fail("The app has not been built: npm run build");

const server = createServer((request, response) => {
  let name = "";
  try {
    name = decodeURIComponent(new URL(request.url, `http://${HOST}`).pathname.slice(1)) || "index.html";
  } catch {
    // Malformed; nothing has that name.
  }
  const path = name.startsWith("bundle/") ? file(bundle, name.slice("bundle/".length)) : file(app, name);
  if (request.method !== "GET" || path === null) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, {
    "Content-Type": TYPES[extname(path)] ?? "application/octet-stream",
    "Content-Length": statSync(path).size,
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
  });
  createReadStream(path).pipe(response);
});
server.on("error", (error) => fail(`Port ${port} of ${HOST} cannot be used: ${error.message}`));
server.listen(Number(port), HOST, () => console.log(`http://${HOST}:${server.address().port}/`));

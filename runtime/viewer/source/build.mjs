// Builds ../built/viewer.html of the sources: `npm ci && npm run build` in this folder.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");

/** The hash of all that the built file is made of: names and texts, in order. tests/runtime/test_viewer.py does the same. */
function sourceHash() {
  const hash = createHash("sha256");
  const names = readdirSync(new URL("src", import.meta.url)).sort();
  for (const name of [...names.map((name) => `src/${name}`), "build.mjs", "package-lock.json", "package.json", "tsconfig.json"]) {
    hash.update(`${name}\n${read(name)}\n`);
  }
  return hash.digest("hex");
}

async function bundle(entry, define = {}) {
  const result = await build({
    entryPoints: [new URL(entry, import.meta.url).pathname],
    bundle: true,
    write: false,
    format: "iife",
    target: "es2022",
    minify: true,
    charset: "ascii",
    legalComments: "none",
    define,
  });
  return result.outputFiles[0].text.trim();
}

const worker = await bundle("src/worker.ts");
const script = await bundle("src/main.ts", { WORKER: JSON.stringify(worker) });
const style = read("src/style.css").replace(/\s*\n\s*/g, " ");
const parts = { "/*STYLE*/": style, "/*SCRIPT*/": script.replaceAll("</script", "<\\/script") };
let page = read("src/page.html");
for (const [mark, text] of Object.entries(parts)) page = page.replace(mark, () => text);
const dagre = read("node_modules/@dagrejs/dagre/LICENSE").trim();
const graphlib = read("node_modules/@dagrejs/graphlib/LICENSE").trim();
const licences = `@dagrejs/dagre and @dagrejs/graphlib, which the viewer holds, are under this licence:\n\n${dagre}\n`;
if (dagre.split("\n").slice(1).join() !== graphlib.split("\n").slice(1).join()) throw new Error("two licences: ship both");
page = page.replace("<head>", () => `<head>\n<!-- sources: ${sourceHash()} -->\n<!--\n${licences}-->`);
mkdirSync(new URL("../built", import.meta.url), { recursive: true });
writeFileSync(new URL("../built/viewer.html", import.meta.url), page);
writeFileSync(new URL("../built/LICENSES.txt", import.meta.url), licences);
console.log(`built/viewer.html: ${page.length} bytes`);

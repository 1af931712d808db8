// Builds profiler_service/web/static from src/ and the locked packages: `make web`. Users need none of this.
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const output = new URL("../profiler_service/web/static/", import.meta.url);
const file = (name) => new URL(name, output).pathname;
const shared = { bundle: true, minify: true, format: "iife", target: "es2020", legalComments: "none", charset: "utf8" };

await rm(output, { recursive: true, force: true });
await mkdir(output, { recursive: true });
for (const name of ["app", "charts", "events-worker"]) {
  await build({ ...shared, entryPoints: [`src/${name}.js`], outfile: file(`${name}.js`) });
}
await build({ bundle: true, minify: true, entryPoints: ["src/style.css"], outfile: file("style.css") });
await copyFile("src/icon.svg", file("icon.svg"));

await copyFile("node_modules/axe-core/axe.min.js", new URL("../tests/browser/axe.min.js", import.meta.url).pathname);

const packages = ["htmx.org", "htmx-ext-sse", "echarts", "zrender", "tslib"];
const licences = [];
for (const name of packages) {
  const { version } = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
  const texts = [];
  for (const part of ["LICENSE", "LICENSE.txt", "NOTICE"]) {
    texts.push(await readFile(`node_modules/${name}/${part}`, "utf8").catch(() => ""));
  }
  if (!texts.some(Boolean)) throw new Error(`${name} has no licence`);
  licences.push(`${name} ${version}\n${"=".repeat(72)}\n\n${texts.filter(Boolean).join("\n")}`);
}
await writeFile(file("licences.txt"), licences.join("\n\n"));

const digests = {};
for (const name of ["app.js", "charts.js", "events-worker.js", "icon.svg", "licences.txt", "style.css"]) {
  digests[name] = createHash("sha256").update(await readFile(file(name))).digest("hex");
}
await writeFile(file("digests.json"), JSON.stringify(digests, null, 2) + "\n");

// Splits the command's bundle by what different commands need, so that a start reads and deserializes only what it is about to run.
//
// esbuild splits the modules at every import() into chunks. Which of them a command loads is recorded by running it; the chunks that the
// first way loads make the first part, those that the next one loads besides make the second, and so on, and the last part has the rest. A
// part is one script with one file of compiled code: a hundred small ones would cost more than they save.

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { build, transform } from "esbuild";

/** Splits `entry` into parts.
 *
 *  options: esbuild's, as for the other bundles. scratch: a directory beside that of the bundles, made and removed again. ways: in order, each a
 *  part's name, the arguments of the commands that are run for it, of those to run before, and modules that belong to it in any case.
 *  Returns the text of each part by name and what esbuild read. The first part is a script like the other bundles; the others return
 *  their chunks to it. */
export async function splitByWays({ name, entry, options, scratch, banner, ways, env }) {
  const { outputFiles, metafile } = await build({
    ...options,
    entryPoints: { [name]: entry },
    outdir: scratch,
    outExtension: {},
    format: "esm",
    splitting: true,
    supported: {},
  });
  const chunks = new Map();
  for (const { path, text } of outputFiles) {
    const { code } = await transform(text, { ...forChunks(options), format: "cjs", loader: "js", sourcefile: basename(path) });
    // A CommonJS package: import() finds its exports by their names, and not only together as the default one.
    const isPackage = /\bexport default require_\w+\(\);?\s*$/.test(text);
    // Twelve letters, 6,000 times.
    const short = code.replace(/\bimport_chunk_(?=[A-Z0-9]{8}\b)/g, "$$");
    chunks.set(basename(path), [code.includes("__address(") ? banner : "", short, isPackage ? "module.exports=module.exports.default;" : ""].join("\n").trim());
  }
  const outputs = new Map(Object.entries(metafile.outputs).map(([path, output]) => [resolve(path), output]));
  const chunkOf = (module) => {
    for (const [path, { entryPoint }] of outputs) if (entryPoint !== undefined && resolve(entryPoint) === module) return basename(path);
    throw new Error(`${module} is not loaded by any import()`);
  };
  const add = (chunk, to) => {
    if (to.has(chunk)) return;
    to.add(chunk);
    for (const { path, kind } of outputs.get(join(scratch, chunk)).imports)
      if (kind === "import-statement" && chunks.has(basename(path))) add(basename(path), to);
  };

  mkdirSync(scratch, { recursive: true });
  try {
    writeFileSync(join(scratch, "package.json"), '{"type":"commonjs"}');
    for (const [chunk, code] of chunks) writeFileSync(join(scratch, chunk), code);
    const record = join(scratch, "record.json");
    writeFileSync(
      join(scratch, "record.js"),
      `process.on("exit", () => require("node:fs").writeFileSync(${JSON.stringify(record)}, JSON.stringify(Object.keys(require.cache))));
require("./${name}.js");\n`,
    );
    const partOf = new Map();
    const parts = new Map(ways.map(({ part }) => [part, []]));
    for (const { part, prepare = [], commands, modules = [] } of ways) {
      const loaded = new Set();
      add(`${name}.js`, loaded);
      for (const module of modules) add(chunkOf(module), loaded);
      for (const args of [...prepare, ...commands]) {
        const { status, stderr } = spawnSync(process.execPath, [join(scratch, "record.js"), ...args], { env, encoding: "utf8" });
        // Where no keeper can run, what a step needs is in the last part.
        if (status !== 0) process.stderr.write(`bundle: ${args[0]} ended with ${status}: ${stderr.split("\n").at(-2) ?? ""}\n`);
        if (prepare.includes(args)) continue;
        for (const path of JSON.parse(readFileSync(record, "utf8"))) if (chunks.has(basename(path))) add(basename(path), loaded);
      }
      for (const chunk of loaded) if (!partOf.has(chunk)) partOf.set(chunk, part);
    }
    const last = ways.at(-1).part;
    for (const chunk of [...chunks.keys()].sort()) parts.get(partOf.get(chunk) ?? last).push(chunk);
    return { parts: new Map([...parts].map(([part, own]) => [part, textOf(part, own, { parts, chunks, name })])), inputs: metafile.inputs };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Of the options those that say how code looks. */
function forChunks({ platform, target, supported, minifyWhitespace, minifySyntax, lineLimit, legalComments, logLevel }) {
  return { platform, target, supported, minifyWhitespace, minifySyntax, lineLimit, legalComments, logLevel };
}

/** esbuild begins each chunk with the same helpers, 1 KB that a part needs once: what precedes the chunk's exports. */
function splitHelpers(code) {
  const at = code.search(/\bvar [\w$]+_exports=\{\};/);
  const helpers = code.startsWith("var __") && at > 0 ? code.slice(0, at) : "";
  return { helpers, names: helpers.match(/\b__\w+(?==)/g) ?? [], rest: code.slice(helpers.length) };
}

/** A script of chunks, each a function that is compiled when it is first called. The first part also finds those of the others. */
function textOf(part, own, { parts, chunks, name }) {
  const split = own.map((chunk) => splitHelpers(chunks.get(chunk)));
  const { helpers, names } = split.reduce((most, one) => (one.names.length > most.names.length ? one : most), { helpers: "", names: [] });
  const functions = own
    .map((chunk, index) => {
      const { rest, names: needed } = split[index];
      const code = needed.every((name) => names.includes(name)) ? rest : chunks.get(chunk);
      return `${JSON.stringify(`./${chunk}`)}(require,module,exports){${code}}`;
    })
    .join(",\n");
  const [first, ...others] = parts.keys();
  if (part !== first) return `${helpers}return {__proto__:null,\n${functions}};`;
  const places = others.flatMap((other, index) => parts.get(other).map((chunk) => `${JSON.stringify(`./${chunk}`)}:${index}`));
  return `${helpers}const others=${JSON.stringify(others)},places={__proto__:null,${places.join(",")}},loaded=[],modules=new Map(),own={__proto__:null,
${functions}};
const chunk=Object.assign((id)=>{
  const known=modules.get(id);
  if(known!==undefined)return known.exports;
  const place=places[id],code=own[id]??(place===undefined?undefined:(loaded[place]??=loadPart(others[place]))[id]);
  if(code===undefined)return require(id);
  const module={exports:{}};
  modules.set(id,module);
  code(chunk,module,module.exports);
  return module.exports;
},{resolve:require.resolve});
chunk("./${name}.js");`;
}

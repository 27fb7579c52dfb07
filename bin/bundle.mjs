// Part of `npm run build`: bundles each entry point into one file, that of the command into a few (bundle-parts.mjs), the only code in the
// package, and saves V8's compiled code for this checkout by running small builds. solver/graph/bundle.cts loads both and says why.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { splitByWays } from "./bundle-parts.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const dist = resolve(root, process.argv[2] ?? "dist");
const { tinyProgram } = await import(join(dist, "test/support/tiny-program.js"));
const out = join(dist, "bundle");
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });

/** Modules find their threads and processes beside themselves, so each keeps its own address. */
const addresses = {
  name: "module-addresses",
  setup(builder) {
    builder.onLoad({ filter: /\.js$/ }, ({ path }) => {
      if (!path.startsWith(dist)) return null;
      const from = relative(out, path);
      const contents = readFileSync(path, "utf8")
        .replaceAll('createRequire(import.meta.url)("lmdb")', 'require("lmdb")')
        .replaceAll("import.meta.url", `__address(${JSON.stringify(from)})`);
      return { contents, loader: "js" };
    });
  },
};

/** lmdb and koffi go into the bundle but for their native parts, which their platform packages hold; finding these the general way
 *  reads a dozen files, and Node's own program. Their versions in package.json are exact, since the two parts belong together.
 *  msgpackr's native string reader is optional and not worth its load here. */
const nativeParts = {
  name: "native-parts",
  setup(builder) {
    builder.onResolve({ filter: /^(node-gyp-build-optional-packages|msgpackr-extract)$/ }, ({ path }) => ({ path, namespace: "native" }));
    builder.onResolve({ filter: /^koffi$/ }, () => ({ path: createRequire(import.meta.url).resolve("koffi") })); // the CommonJS one
    builder.onResolve({ filter: /^\.\/src\/static\.cjs$/ }, ({ importer }) => (/\/koffi\/src\/koffi\//.test(importer) ? { path: "koffi", namespace: "koffi" } : null));
    builder.onLoad({ filter: /.*/, namespace: "koffi" }, () => ({
      loader: "js",
      contents: `exports.loadStatic = (name) => {
        const outside = eval("require");
        try { return outside("@koromix/koffi-" + name + "/" + name.replace("-", "_") + "/koffi.node"); } catch {}
        return outside("koffi").default; // another C library, or a build of the user's own
      };`,
    }));
    builder.onLoad({ filter: /.*/, namespace: "native" }, ({ path }) => ({
      loader: "js",
      contents:
        path === "msgpackr-extract"
          ? "module.exports = null;"
          : `module.exports = () => {
              // Not "require": esbuild would look for it now.
              const outside = eval("require");
              const base = "@lmdb/lmdb-" + process.platform + "-" + process.arch + "/node.";
              for (const abi of ["abi" + process.versions.modules, "napi"]) {
                try { return outside(base + abi + ".glibc.node"); } catch {} // the next form of it
              }
              { // another C library, or a build of the user's own
                const { dirname } = outside("node:path");
                return outside("node-gyp-build-optional-packages")(dirname(dirname(outside.resolve("lmdb"))));
              }
            };`,
    }));
  },
};

/** Parts of Node that a keeper seldom needs, and that take 5 of 55 ms of its start: loaded with their first use. */
const lateBuiltins = {
  name: "late-builtins",
  setup(builder) {
    builder.onResolve({ filter: /^node:(crypto|tty)$/ }, ({ path, namespace }) => (namespace === "late-builtin" ? { path, external: true } : { path, namespace: "late-builtin" }));
    builder.onLoad({ filter: /.*/, namespace: "late-builtin" }, ({ path }) => ({
      loader: "js",
      contents: `let loaded;
        for (const name of ${JSON.stringify(Object.keys(process.getBuiltinModule(path)))})
          Object.defineProperty(exports, name, { enumerable: true, get: () => (loaded ??= require("${path}"))[name] });`,
    }));
  },
};

/** Bundles of their own, since most processes never load what is in them: a module that another one imports when it is needed. */
const late = {
  prometheus: join(dist, "bin/daemon/prometheus.js"),
  otlp: join(dist, "bin/otlp.js"),
  scan: join(dist, "worker/sbom/scan.js"),
  documents: join(dist, "worker/sbom/documents.js"),
  "rpm-sqlite": join(dist, "worker/sbom/rpm-sqlite.js"),
  "sigstore-bundle": join(dist, "exporters/signature/sigstore-bundle.js"),
};
const lateBundles = {
  name: "late-bundles",
  setup(builder) {
    builder.onResolve({ filter: /\.js$/ }, ({ path, kind }) => {
      const name = basename(path, ".js");
      return kind === "dynamic-import" && name in late ? { path: `./${name}.cjs`, external: true } : null;
    });
  },
};

const common = {
  write: false,
  metafile: true,
  outdir: out,
  outExtension: { ".js": ".cjs" },
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node20.19",
  // A script made from a code cache has no import(): what stays outside is CommonJS and required when it is needed.
  supported: { "dynamic-import": false },
  legalComments: "none",
  // A quarter less to read: 1 ms of a start, and of the package. Names stay, and lines that an error can show.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 160,
  logLevel: "warning",
};
const banner = 'const __address = (path) => require("node:url").pathToFileURL(require("node:path").resolve(__filename, "..", path)).href;';
const own = {
  ...common,
  // Packages with native parts, large ones that are loaded when they are needed, and those that are CommonJS anyway.
  external: ["re2js", "undici", "undici/*", "dockerfile-ast", "pako", "fzstd", "@foxglove/*", "unbzip2-stream", "xz-decompress"],
  plugins: [addresses, nativeParts, lateBundles],
};
const usual = await build({
  ...own,
  // The names that entryOf() in solver/graph/entry.ts is called with.
  entryPoints: {
    daemon: join(dist, "bin/daemon/main.js"),
    buildctl: join(dist, "bin/daemon/buildctl.js"),
    keeper: join(dist, "worker/keeper/main.js"),
    thread: join(dist, "worker/keeper/thread.js"),
    "hash-thread": join(dist, "cache/path-hash-thread.js"),
    "received-thread": join(dist, "cache/received-thread.js"),
    "compress-thread": join(dist, "cache/layers/compress-thread.js"),
  },
  banner: { js: banner },
  plugins: [lateBuiltins, ...own.plugins],
});
// Of OpenTelemetry's packages as modules a fifth is used: they also know logs and metrics. It is all other people's code, without our names.
const rest = await build({
  ...common,
  entryPoints: late,
  mainFields: ["module", "main"],
  minifyIdentifiers: true,
  plugins: [lateBundles],
});

/** The first line names the rest, for the compiled code that belongs to it. */
const save = (path, text) => writeFileSync(path, `// ${createHash("sha256").update(text).digest("hex")}\n${text}`);
for (const { path, text } of [...usual.outputFiles, ...rest.outputFiles]) save(path, text);

// Builds in a store of their own: the first does everything, the others find everything but the step that is new.
const scratch = mkdtempSync(join(tmpdir(), "tsbuild-bundle-"));
try {
  const context = join(scratch, "context");
  mkdirSync(context);
  writeFileSync(
    join(context, "Dockerfile"),
    `FROM scratch AS base
ARG A=1
ENV B=$A
COPY file program /dir/
FROM base
COPY --from=base /dir /other
ARG ROUND
RUN ["/dir/program"]
LABEL a=b
CMD ["x"]
`,
  );
  writeFileSync(join(context, "file"), "file\n");
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  writeFileSync(join(context, "program"), tinyProgram(architecture, "made\n"), { mode: 0o755 });
  const inStore = (store, command, ...args) => [command, "--root", join(scratch, store), ...args];
  const buildIn = (store, round, ...args) =>
    inStore(store, "build", "-t", "warm", "--build-arg", `ROUND=${round}`, ...args, context);
  const archive = `type=oci,dest=${join(scratch, "image.tar")}`;

  const { parts, inputs } = await splitByWays({
    name: "main",
    entry: join(dist, "bin/main.js"),
    options: own,
    scratch: join(dist, "chunks"),
    banner,
    env: { ...process.env, TSBUILD_CODE_CACHE: "" },
    ways: [
      { part: "main", commands: [["--version"], ["--help"]] },
      // Before the others, so that there is something to find.
      { part: "main-store", commands: [inStore("first", "images"), inStore("first", "inspect", "warm")], prepare: [buildIn("first", 1)] },
      { part: "main-build", commands: [buildIn("first", 1, "--progress=plain"), buildIn("first", 1, "-q")], modules: [join(dist, "bin/progress-tty.js")] },
      { part: "main-steps", commands: [buildIn("first", 2), buildIn("first", 2, "-o", archive)] },
      { part: "main-rest", commands: [] },
    ],
  });
  for (const [name, text] of parts) save(join(out, `${name}.cjs`), text);
  writeLicences([usual.metafile.inputs, rest.metafile.inputs, inputs]);

  const warm = [1, 2, 3].flatMap((round) => [
    buildIn("second", round, "--progress=plain"),
    buildIn("second", round, "-q"),
    inStore("second", "images"),
    inStore("second", "inspect", "warm"),
    inStore("second", "save", "-o", join(scratch, "saved.tar"), "warm"),
  ]);
  for (const args of warm) {
    const { status, stderr } = spawnSync(process.execPath, [join(dist, "bin/tsbuild.cjs"), ...args], {
      env: { ...process.env, TSBUILD_CODE_CACHE: out },
      encoding: "utf8",
    });
    // Where no keeper can run the files are bundled all the same; only the compiled code is thinner.
    if (status !== 0) process.stderr.write(`bundle: the warming ${args[0]} ended with ${status}: ${stderr.split("\n").at(-2) ?? ""}\n`);
  }
} finally {
  // The keeper ends by being killed, also while it writes.
  for (const name of readdirSync(out)) if (/\.code\.[0-9a-z]+$/.test(name)) rmSync(join(out, name));
  // overlayfs leaves work directories that not even their owner may look into.
  spawnSync("chmod", ["-R", "u+rwx", scratch]);
  rmSync(scratch, { recursive: true, force: true });
}

/** What is inside of other packages' code is used under their terms, which go with it. */
function writeLicences(inputs) {
  const files = inputs.flatMap((some) => Object.keys(some));
  const packages = new Set(files.flatMap((file) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []));
  /** Packages by their terms: those of one project have the same. */
  const terms = new Map();
  for (const directory of [...packages].sort()) {
    const { name, version, license } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
    const file = readdirSync(directory).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
    const text = file === undefined ? "" : readFileSync(join(directory, file), "utf8").trim();
    terms.set(text, [...(terms.get(text) ?? []), `${name} ${version} (${license})\n`]);
  }
  const parts = [...terms].map(([text, names]) => `${names.join("")}\n${text}\n`);
  writeFileSync(join(out, "LICENSES"), `The code in this directory contains parts of the packages below.\n\n${parts.join(`\n${"-".repeat(80)}\n\n`)}`);
}

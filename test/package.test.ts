// The result of `npm pack`: the code once, valid links, the stated size; and that it works when installed
// by an ordinary user with nothing but npm.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, normalize } from "node:path";
import { text } from "node:stream/consumers";
import { openNpmRegistry } from "./support/npm-registry.ts";
import { projectDir } from "./support/project.ts";
import { removeTree } from "./support/store.ts";
import { tinyProgram } from "./support/tiny-program.ts";
import { ordinaryUser } from "./support/unprivileged.ts";

/** What installing downloads and takes on disk, besides the packages it depends on. */
const PACKED_MAX_BYTES = 2_400_000;
const UNPACKED_MAX_BYTES = 7_400_000;

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

describe("the package", function () {
  this.timeout(120_000);
  const user = ordinaryUser();
  let dir = "";
  let packed: Packed;
  let files: ReadonlySet<string>;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "package-"));
    chownSync(dir, user.uid, user.gid);
    // As it was built for these tests: prepack would build it anew under them.
    const args = ["pack", "--ignore-scripts", "--json", "--pack-destination", dir];
    const json = execFileSync("npm", args, {
      cwd: projectDir,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    [packed] = JSON.parse(json) as [Packed];
    files = new Set(packed.files.map(({ path }) => path));
  });
  after(() => removeTree(dir));

  it("has the code in one form: no modules beside the bundles, no maps, no types, nothing that is compiled for one Node", () => {
    const code = [...files].filter((path) => path.startsWith("dist/")).sort();
    assert.deepEqual(code, [
      "dist/bin/tsbuild.cjs",
      "dist/bin/tsbuildd.cjs",
      "dist/bundle/LICENSES",
      ...[
        "buildctl",
        "compress-thread",
        "daemon",
        "documents",
        "hash-thread",
        "keeper",
        "main-build",
        "main-rest",
        "main-steps",
        "main-store",
        "main",
        "otlp",
        "prometheus",
        "received-thread",
        "rpm-sqlite",
        "scan",
        "sigstore-bundle",
        "thread",
      ].map((name) => `dist/bundle/${name}.cjs`),
      "dist/solver/graph/bundle.cjs",
      "dist/solver/graph/code-cache.cjs",
    ]);
    const others = [...files].filter((path) => !/^(?:dist\/.*|.*\.md|LICENSE|package\.json)$/.test(path));
    assert.deepEqual(others, []);
  });

  it("depends on no package that is inside of its bundles, but for what has native parts", () => {
    const { dependencies } = JSON.parse(readFileSync(join(projectDir, "package.json"), "utf8")) as {
      dependencies: Record<string, string>;
    };
    const notices = readFileSync(join(projectDir, "dist/bundle/LICENSES"), "utf8");
    const twice = Object.keys(dependencies).filter((name) => notices.includes(`\n${name} `));
    assert.deepEqual(twice, ["koffi", "lmdb"]);
    // What is inside belongs to the native part that is installed.
    for (const name of twice) assert.match(dependencies[name] ?? "", /^\d+\.\d+\.\d+$/, name);
    const bundles = readdirSync(join(projectDir, "dist/bundle")).filter((name) => name.endsWith(".cjs"));
    const wanted = bundles.flatMap((name) => {
      const source = readFileSync(join(projectDir, "dist/bundle", name), "utf8");
      return [...source.matchAll(/\brequire\("((?:@[^"/]+\/)?[^"/.:]+)[^":]*"\)/g)].map(
        ([, found]) => found as string,
      );
    });
    const outside = new Set(wanted.filter((name) => !isBuiltin(name)));
    for (const name of outside) assert.ok(name in dependencies, `${name} is required by a bundle`);
    assert.ok(outside.has("undici"));
  });

  it("is as small as the README says", () => {
    const readme = readFileSync(join(projectDir, "README.md"), "utf8");
    const [, small, large] = /(\d\.\d) MB packed, (\d\.\d) MB installed/.exec(readme) ?? [];
    // To a tenth of a megabyte, or one more: a few lines of code are not worth a new number.
    const isNear = (said: string | undefined, bytes: number): boolean =>
      Math.abs(Number(said) - bytes / 1e6) < 0.15;
    assert.ok(isNear(small, packed.size), `${packed.size} bytes packed`);
    assert.ok(isNear(large, packed.unpackedSize), `${packed.unpackedSize} bytes unpacked`);
    assert.ok(packed.size <= PACKED_MAX_BYTES, `${packed.size} bytes packed`);
    assert.ok(packed.unpackedSize <= UNPACKED_MAX_BYTES, `${packed.unpackedSize} bytes unpacked`);
  });

  it("has no link to a file it does not have, and in the README, which npm shows alone, none to a file at all", () => {
    let links = 0;
    for (const path of files) {
      if (!path.endsWith(".md")) continue;
      const page = readFileSync(join(projectDir, path), "utf8")
        .replaceAll(/^```[^]*?^```/gm, "")
        .replaceAll(/`[^`\n]*`/g, "");
      for (const [, target = ""] of page.matchAll(/\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)/gm)) {
        if (/^(?:https?:|#)/.test(target)) continue;
        links += 1;
        const leads = normalize(join(dirname(path), target.replace(/#.*$/, "")));
        assert.ok(files.has(leads), `${path}: ${target}`);
        assert.notEqual(path, "README.md", target);
      }
    }
    assert.ok(links > 10, `only ${links} links were found`);
  });

  describe(`installed by ${user.name} with npm i -g`, () => {
    let tsbuild: (...args: string[]) => Promise<string>;
    let prefix = "";
    let caches = "";
    let context = "";

    async function run(file: string, args: readonly string[]): Promise<string> {
      const foreign = user.uid !== process.getuid?.();
      const child = spawn(file, args, {
        cwd: dir,
        env: {
          PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
          HOME: dir,
          TMPDIR: dir,
          TSBUILD_ROOT: join(dir, "store"),
        },
        stdio: ["ignore", "pipe", "pipe"],
        ...(foreign ? { uid: user.uid, gid: user.gid } : {}),
      });
      const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
      if (child.exitCode === null) await new Promise((resolve) => child.once("exit", resolve));
      assert.equal(child.exitCode, 0, `${file} ${args.join(" ")}: ${child.signalCode}\n${stdout}${stderr}`);
      return stdout;
    }

    before(async () => {
      prefix = join(dir, "prefix");
      caches = join(dir, ".cache/tsbuild");
      await using registry = await openNpmRegistry();
      const flags = [
        "--prefix",
        prefix,
        "--registry",
        registry.url,
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
      ];
      await run("npm", ["install", "--global", ...flags, join(dir, packed.filename)]);
      assert.ok(registry.asked.has("koffi"));
      tsbuild = (...args) => run(join(prefix, "bin/tsbuild"), args);

      context = join(dir, "context");
      mkdirSync(join(context, "many"), { recursive: true });
      const architecture = process.arch === "arm64" ? "arm64" : "amd64";
      writeFileSync(join(context, "program"), tinyProgram(architecture, "made\n"), { mode: 0o755 });
      // So much that it is hashed by threads.
      for (let index = 0; index < 24; index++)
        writeFileSync(join(context, "many", `${index}`), Buffer.alloc(4 << 20, index));
      writeFileSync(
        join(context, "Dockerfile"),
        'FROM scratch AS base\nCOPY program /\nCOPY many /many\nRUN ["/program"]\nFROM scratch\nCOPY --from=base /made /program /\nCMD ["/program"]\n',
      );
    });

    it("takes with all it depends on what the README says", () => {
      const bytes = Number(execFileSync("du", ["-sb", prefix], { encoding: "utf8" }).split("\t")[0]);
      const [, stated] = /are about (\d+) MB/.exec(readFileSync(join(projectDir, "README.md"), "utf8")) ?? [];
      assert.ok(Math.abs(bytes / 1e6 - Number(stated)) < 8, `${bytes} bytes`);
    });

    it("has neither modules nor the packages that are in its bundles", () => {
      const root = join(prefix, "lib/node_modules/tsbuild");
      assert.deepEqual(readdirSync(join(root, "dist")).sort(), ["bin", "bundle", "solver"]);
      for (const name of ["lru-cache", "tar-stream", "p-queue"])
        assert.ok(!existsSync(join(root, "node_modules", name)), name);
    });

    it("builds, packs reproducibly, runs what was built, and finds it all the next time", async () => {
      assert.match(await tsbuild("--version"), /^tsbuild version \d/);
      assert.ok(!existsSync(caches), "compiled code of what compiles next to nothing");
      const build = ["build", "--progress=plain", "-t", "app", context];
      await tsbuild(...build);
      assert.equal(await tsbuild("run", "--rm", "app"), "made\n");
      const archive = ["--reproducible", "-o", `type=oci,compression=gzip,dest=${join(dir, "image.tar")}`];
      await tsbuild("build", ...archive, context);
      assert.match(
        execFileSync("tar", ["tf", join(dir, "image.tar")], { encoding: "utf8" }),
        /^index\.json$/m,
      );
      const zstd = ["-o", `type=oci,compression=zstd,force-compression=true,dest=${join(dir, "zstd.tar")}`];
      await tsbuild("build", "--reproducible", ...zstd, context);
      await tsbuild(...build);
    });

    it("keeps what the first builds compiled with the user, closed to others, and no longer changes it then", async () => {
      const state = (): string[] =>
        readdirSync(caches)
          // A keeper ends by being killed, also while it writes: its drafts go when the directory is tidied.
          .filter((name) => name.endsWith(".code"))
          .sort()
          .map((name) => {
            const { mode, uid, mtimeMs, size } = statSync(join(caches, name));
            assert.deepEqual([mode & 0o777, uid], [0o600, user.uid], name);
            assert.ok(size > 50_000, `${name}: ${size} bytes`);
            return `${name} ${mtimeMs}`;
          });
      assert.equal(statSync(caches).mode & 0o777, 0o700);
      let before = state();
      assert.deepEqual(before.map((line) => /^[a-z-]+(?=-[0-9a-f]{12}-)/.exec(line)?.[0]).sort(), [
        "keeper",
        "main",
        "main-build",
        "main-rest",
        "main-steps",
        "main-store",
        "thread",
      ]);
      // What such a keeper could not write, one of the next builds does.
      for (let builds = 0; ; builds++) {
        await tsbuild("build", "-q", context);
        const after = state();
        if (after.join() === before.join()) break;
        assert.ok(builds < 5, `${before.join()} and still ${after.join()}`);
        before = after;
      }
    });
  });
});

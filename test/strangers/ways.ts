// Every input that may be untrusted, and every output into untrusted directories. Each takes a hostile tree and runs one
// or more commands.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Outcome } from "../support/cli.ts";
import { makeRepository } from "../support/git-server.ts";
import type { Workshop } from "../build/fixture.ts";
import type { Kind } from "./kinds.ts";

/** One cell of the matrix while it is tried. */
export interface Cell {
  readonly shop: Workshop;
  readonly kind: Kind;
  /** A new directory of this cell's, below the workshop. */
  readonly dir: string;
  /** Absolute path of the sentinel's directory. */
  readonly outside: string;
  /** http://HOST of a server of all that is in `dir`, repositories included. */
  readonly web: string;
  /** Makes the kind's tree in `path` (made) and gives it to the account. Swapped from now on, where the kind says so. */
  tree(path: string): string;
  /** Writes a file below `dir`; returns its path. */
  file(name: string, text: string): string;
  /** Runs the command; it has to end by itself, or when it is told to where the kind is endless. */
  run(args: readonly string[], inputFile?: string): Promise<Outcome>;
}

export interface Way {
  readonly name: string;
  /** Kinds that cannot come this way, and why. */
  readonly never: Readonly<Record<string, string>>;
  attempt(cell: Cell): Promise<Outcome>;
}

const NOT_IN_GIT = "git keeps files, links and directories only";
const NO_SHELL = "busybox sets no attributes";
const SEALED = "what has been packed changes no more";
const NEVER_IN_GIT = {
  swaps: SEALED,
  fifos: NOT_IN_GIT,
  devices: NOT_IN_GIT,
  attributes: NOT_IN_GIT,
  deep: "git adds no path longer than PATH_MAX",
  sparse: "git would write all of it",
};

const tarOf = ({ dir }: Cell, tree: string, name: string): string => {
  const file = join(dir, name);
  // -S: a sparse file as its holes. Sockets are left out by tar, with a warning.
  const flags = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-cSf"];
  execFileSync("tar", [...flags, file, "-C", tree, "."], { stdio: ["ignore", "ignore", "ignore"] });
  return file;
};

/** A context whose Dockerfile copies the tree, and the files of the result as a tar. */
const COPY_ALL = "FROM scratch\nCOPY tree /tree\n";
const result = (cell: Cell): string[] => [
  "--progress=plain",
  "-o",
  `type=tar,dest=${join(cell.dir, "out.tar")}`,
];

/** A layout of the base image with the cell's tree as one more layer. */
function layoutWithTree(cell: Cell): string {
  const layout = join(cell.dir, "layout");
  cpSync(cell.shop.at("base"), layout, { recursive: true });
  addLayer(layout, readFileSync(tarOf(cell, cell.tree(join(cell.dir, "tree")), "layer.tar")));
  return layout;
}

/** A context with this Dockerfile and no other file. */
function bare(cell: Cell, dockerfile: string): string {
  cell.file("bare/Dockerfile", dockerfile);
  return join(cell.dir, "bare");
}

/** A stage with the tree in /tree, made by a step. */
function stageOf(cell: Cell): string {
  if (cell.kind.script === null) throw new Error("no script");
  return `FROM base AS made\nWORKDIR /tree\nRUN ${cell.kind.script(cell.outside)}\n`;
}

export const WAYS: readonly Way[] = [
  {
    name: "context",
    never: {},
    attempt(cell) {
      cell.file("context/Dockerfile", COPY_ALL);
      cell.tree(join(cell.dir, "context", "tree"));
      return cell.run(["build", ...result(cell), join(cell.dir, "context")]);
    },
  },
  {
    name: "named context",
    never: {},
    attempt(cell) {
      const tree = cell.tree(join(cell.dir, "named"));
      const context = bare(cell, "FROM scratch\nCOPY --from=named . /tree\n");
      return cell.run(["build", ...result(cell), "--build-context", `named=${tree}`, context]);
    },
  },
  {
    name: "tar context",
    never: { swaps: SEALED },
    attempt(cell) {
      cell.file("context/Dockerfile", COPY_ALL);
      cell.tree(join(cell.dir, "context", "tree"));
      return cell.run(["build", ...result(cell), "-"], tarOf(cell, join(cell.dir, "context"), "context.tar"));
    },
  },
  {
    name: "http",
    never: { swaps: SEALED },
    attempt(cell) {
      cell.file("context/Dockerfile", COPY_ALL);
      cell.tree(join(cell.dir, "context", "tree"));
      tarOf(cell, join(cell.dir, "context"), "context.tar");
      return cell.run(["build", ...result(cell), `${cell.web}/context.tar`]);
    },
  },
  {
    name: "git",
    never: NEVER_IN_GIT,
    attempt(cell) {
      cell.file("context/Dockerfile", COPY_ALL);
      cell.tree(join(cell.dir, "context", "tree"));
      makeRepository(join(cell.dir, "context"), join(cell.dir, "repo.git"));
      return cell.run(["build", ...result(cell), `${cell.web}/repo.git#main`]);
    },
  },
  {
    name: "ADD git",
    never: NEVER_IN_GIT,
    async attempt(cell) {
      const tree = cell.tree(join(cell.dir, "tree"));
      makeRepository(tree, join(cell.dir, "repo.git"));
      // Every name of the tree as the directory that is asked for, too: links to outside among them.
      for (const name of ["absolute", "relative", "file", "below/sub", "magic"]) {
        if (cell.kind.name !== "links") break;
        const context = bare(cell, `FROM scratch\nADD ${cell.web}/repo.git#main:${name} /tree\n`);
        await cell.run(["build", ...result(cell), context]);
      }
      return cell.run([
        "build",
        ...result(cell),
        bare(cell, `FROM scratch\nADD ${cell.web}/repo.git#main /tree\n`),
      ]);
    },
  },
  {
    name: "ADD archive",
    never: { swaps: SEALED },
    attempt(cell) {
      cell.file("context/Dockerfile", "FROM scratch\nADD tree.tar /tree/\n");
      renameSync(
        tarOf(cell, cell.tree(join(cell.dir, "tree")), "tree.tar"),
        join(cell.dir, "context", "tree.tar"),
      );
      return cell.run(["build", ...result(cell), join(cell.dir, "context")]);
    },
  },
  {
    name: "layer",
    never: { swaps: SEALED },
    async attempt(cell) {
      const layout = layoutWithTree(cell);
      const context = bare(cell, "FROM evil\nRUN true\n");
      return cell.run(["build", ...result(cell), "--build-context", `evil=oci-layout://${layout}`, context]);
    },
  },
  {
    name: "bill of materials",
    never: { swaps: SEALED },
    async attempt(cell) {
      const layout = layoutWithTree(cell);
      const context = bare(cell, "FROM evil\nLABEL a=b\n");
      const name = basename(cell.dir).toLowerCase();
      const built = await cell.run([
        "build",
        "-t",
        name,
        "--build-context",
        `evil=oci-layout://${layout}`,
        context,
      ]);
      return built.code === 0 ? await cell.run(["sbom", "--format", "spdx-json", name]) : built;
    },
  },
  {
    name: "layout",
    never: {},
    attempt(cell) {
      // The tree's names in place of the layout's own.
      const layout = cell.tree(join(cell.dir, "layout"));
      const honest = join(cell.dir, "honest");
      cpSync(cell.shop.at("base"), honest, { recursive: true });
      cpSync(join(honest, "oci-layout"), join(layout, "oci-layout"));
      place(cell, honest, layout);
      const context = bare(cell, "FROM evil\nRUN true\n");
      return cell.run(["build", ...result(cell), "--build-context", `evil=oci-layout://${layout}`, context]);
    },
  },
  {
    name: "cache import",
    never: {},
    async attempt(cell) {
      const honest = join(cell.dir, "honest");
      const context = bare(cell, "FROM base\nRUN echo cached > /cached\n");
      await cell.shop.ok(["build", "--cache-to", `type=local,dest=${honest},mode=max`, context]);
      const cache = cell.tree(join(cell.dir, "cache"));
      place(cell, honest, cache);
      return cell.run([
        "build",
        "--no-cache",
        ...result(cell),
        "--cache-from",
        `type=local,src=${cache}`,
        context,
      ]);
    },
  },
  {
    name: "cache mount",
    never: { attributes: NO_SHELL },
    async attempt(cell) {
      const script = cell.kind.script?.(cell.outside) ?? "";
      const mount = `--mount=type=cache,id=strange,target=/tree`;
      const made = await cell.run([
        "build",
        "--progress=plain",
        bare(cell, `FROM base\nRUN ${mount} cd /tree && { ${script}; }\n`),
      ]);
      if (made.code !== 0) return made;
      return cell.run(["cache-mounts", "export", join(cell.dir, "mounts")]);
    },
  },
  {
    name: "COPY --from",
    never: { swaps: "layers change no more", attributes: NO_SHELL },
    attempt(cell) {
      const context = bare(cell, `${stageOf(cell)}FROM scratch\nCOPY --from=made /tree /tree\n`);
      return cell.run(["build", ...result(cell), context]);
    },
  },
  {
    name: "step",
    never: { swaps: "layers change no more", attributes: NO_SHELL },
    attempt(cell) {
      return cell.run(["build", ...result(cell), bare(cell, stageOf(cell))]);
    },
  },
  {
    name: "local output",
    never: {},
    attempt(cell) {
      // What is written has the names of what is there.
      const names = ["absolute", "relative", "below/sub", "place", "other", "fifo", "etc", "loop"];
      const lines = names.map((name) => `COPY secret /${name}/secret\n`).join("");
      cell.file("context/Dockerfile", `FROM scratch\n${lines}COPY secret /file\n`);
      cell.file("context/secret", "written\n");
      const dest = cell.tree(join(cell.dir, "dest"));
      return cell.run([
        "build",
        "--progress=plain",
        "-o",
        `type=local,dest=${dest}`,
        join(cell.dir, "context"),
      ]);
    },
  },
  {
    name: "layout output",
    never: {},
    attempt(cell) {
      const dest = cell.tree(join(cell.dir, "dest"));
      place(cell, null, dest);
      const context = bare(cell, "FROM base\nRUN echo new > /new\n");
      return cell.run(["build", "--progress=plain", "-o", `type=oci,tar=false,dest=${dest}`, context]);
    },
  },
  {
    name: "cache output",
    never: {},
    attempt(cell) {
      const dest = cell.tree(join(cell.dir, "dest"));
      place(cell, null, dest);
      const context = bare(cell, "FROM base\nRUN echo new > /new\n");
      return cell.run([
        "build",
        "--progress=plain",
        "--cache-to",
        `type=local,mode=max,dest=${dest}`,
        context,
      ]);
    },
  },
];

/** Puts the tree's links and FIFOs where a layout's own files are, and what is left of an honest layout beside them. */
function place({ kind }: Cell, honest: string | null, layout: string): void {
  const take = (name: string, as: string): void => renameSync(join(layout, name), join(layout, as));
  const copy = (name: string): void => {
    if (honest !== null) cpSync(join(honest, name), join(layout, name), { recursive: true });
  };
  switch (kind.name) {
    case "links": // blobs lead outside, and so does the index
      take("absolute", "blobs");
      take("file", "index.json");
      return;
    case "swaps": // blobs/sha256 is now here, now outside
      mkdirSync(join(layout, "blobs"));
      execFileSync("ln", ["-s", "../place", join(layout, "blobs", "sha256")]);
      if (honest !== null)
        cpSync(join(honest, "blobs", "sha256"), join(layout, "place"), { recursive: true });
      copy("index.json");
      return;
    case "fifos": // index.json is one
      copy("blobs");
      return;
    default:
      copy("blobs");
      copy("index.json");
  }
}

interface LayoutDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Adds an uncompressed layer on top of the only image of a layout. */
function addLayer(layout: string, tar: Buffer): void {
  const blob = (digest: string): string => join(layout, "blobs", "sha256", digest.slice("sha256:".length));
  const read = <T>({ digest }: LayoutDescriptor): T => JSON.parse(readFileSync(blob(digest), "utf8")) as T;
  const put = (data: Buffer, mediaType: string): LayoutDescriptor => {
    const digest = `sha256:${createHash("sha256").update(data).digest("hex")}`;
    writeFileSync(blob(digest), data);
    return { mediaType, digest, size: data.length };
  };
  const json = (value: unknown, like: LayoutDescriptor): LayoutDescriptor =>
    put(Buffer.from(JSON.stringify(value)), like.mediaType);
  const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as {
    manifests: [LayoutDescriptor];
  };
  const [entry] = index.manifests;
  const manifest = read<{ config: LayoutDescriptor; layers: LayoutDescriptor[] }>(entry);
  const config = read<{ rootfs: { diff_ids: string[] }; history: object[] }>(manifest.config);
  const layer = put(tar, "application/vnd.oci.image.layer.v1.tar");
  config.rootfs.diff_ids.push(layer.digest);
  config.history.push({ created_by: "a stranger" });
  manifest.layers.push(layer);
  manifest.config = json(config, manifest.config);
  index.manifests = [{ ...entry, ...json(manifest, entry) }];
  writeFileSync(join(layout, "index.json"), JSON.stringify(index));
}

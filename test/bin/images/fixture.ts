// A registry with an image of two platforms and its attestations.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { tsbuild, type Outcome, tsbuildOk } from "../../support/cli.ts";
import { needs } from "../../support/needs.ts";
import { type DebianRegistry, startRegistry } from "../../support/registry.ts";
import { temporaryDir, type TemporaryDir } from "../../support/store.ts";

export interface ImageFixture extends AsyncDisposable {
  readonly registry: DebianRegistry;
  readonly dir: TemporaryDir;
  /** A build context; its image has one file and, after `RUN`-less steps, no commands. */
  readonly context: string;
  /** HOST/app:1, an index of linux/amd64 and linux/arm64 with provenance, and its digest. */
  readonly app: string;
  readonly digest: string;
  /** Runs tsbuild with a store that has none of the images. */
  run(...args: string[]): Promise<Outcome>;
  /** The same for a command that fails: what it says. */
  fails(...args: string[]): Promise<string>;
  /** A document as skopeo reads it. */
  raw(address: string): string;
}

const DOCKERFILE = `FROM scratch
ARG TARGETARCH
LABEL for=$TARGETARCH signs="<&>"
ENV A=b
COPY a /a
CMD ["/a"]
`;

export async function openImageFixture(
  options: { readonly attestations?: readonly string[] } = {},
): Promise<ImageFixture> {
  const registry = await startRegistry({ canDelete: true });
  const dir = temporaryDir();
  const context = dir.at("context");
  mkdirSync(context);
  writeFileSync(`${context}/Dockerfile`, DOCKERFILE);
  writeFileSync(`${context}/a`, "one file\n");
  const app = `${registry.host}/app:1`;
  const attestations = options.attestations ?? ["--provenance=true"];
  const args = ["build", "-q", "--platform", "linux/amd64,linux/arm64", ...attestations, "--push", "-t", app];
  const built = await tsbuildOk([...args, context], { root: dir.at("store") });
  return {
    ...{ registry, dir, context, app },
    digest: built.stdout.trim(),
    run: (...words) => tsbuildOk(words, { root: dir.at("other") }),
    async fails(...words) {
      const { code, stderr } = await tsbuild(words, { root: dir.at("other") });
      if (code !== 1 || stderr.match(/^ERROR/gm)?.length !== 1)
        throw new Error(`tsbuild ${words.join(" ")}: exit code ${code}\n${stderr}`);
      return stderr;
    },
    raw: (address) =>
      execFileSync(needs("skopeo"), ["inspect", "--raw", "--tls-verify=false", address], {
        encoding: "utf8",
      }),
    async [Symbol.asyncDispose]() {
      await registry[Symbol.asyncDispose]();
      dir[Symbol.dispose]();
    },
  };
}

export function digestOfText(text: string): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}

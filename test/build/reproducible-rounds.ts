// One digest over machines and users that differ in all that a build must not depend on: directory, depth and modes of the checkout, umask,
// time zone, language, host name, processors and threads, user, sandbox, and where results come from.
//
// As a script, over all environments: node dist/test/build/reproducible-rounds.js

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pack } from "tar-stream";
import { buffer } from "node:stream/consumers";
import { needs } from "../support/needs.ts";
import { ordinaryUser, programDir, self } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

/** What is left out is as usual: this process's account, a cold cache, the built-in sandbox. */
export interface Environment {
  readonly name: string;
  readonly isOrdinary?: boolean;
  /** As a user without subordinate ids. */
  readonly isOneId?: boolean;
  readonly directory?: string;
  /** Of the checkout and of the command. */
  readonly umask?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Programs that the command is run by. */
  readonly wrapper?: readonly string[];
  readonly runtime?: "crun" | "runc";
  /** warm: built before, without --reproducible. imported: from a cache in a directory, of a build without it (plain) or with it. */
  readonly cache?: "cold" | "warm" | "imported" | "imported-plain";
  /** Of the files, epoch seconds. */
  readonly mtime?: number;
}

const ONE_CPU = ["taskset", "-c", "0"];
const isRoot = process.getuid?.() === 0;

/** The first four are what the tests build in, all that may matter in them at least once. */
export const ENVIRONMENTS: readonly Environment[] = [
  { name: "usual" },
  {
    ...{ name: "other checkout", directory: "a/b c/d/e/f/g", umask: "077", mtime: 1_000_000_000 },
    ...{ env: { TZ: "Pacific/Kiritimati", LANG: "tr_TR.UTF-8", LC_ALL: "C" }, wrapper: ONE_CPU },
  },
  {
    ...{ name: "other user, imported cache", isOrdinary: true, cache: "imported-plain", umask: "002" },
    ...{ env: { UV_THREADPOOL_SIZE: "1", TZ: "America/St_Johns" } },
  },
  {
    name: "crun, warm cache",
    runtime: "crun",
    cache: "warm",
    mtime: 4_000_000_000,
    env: { LANG: "ja_JP.eucJP" },
  },
  { name: "umask 077", umask: "077" },
  { name: "umask 000", umask: "000" },
  { name: "deep directory", directory: `deep/${"directory/".repeat(30)}here` },
  { name: "time zone", env: { TZ: "Asia/Kathmandu" } },
  { name: "language", env: { LANG: "de_DE.ISO-8859-1", LC_ALL: "POSIX", LANGUAGE: "ar" } },
  { name: "one processor", wrapper: ONE_CPU, env: { UV_THREADPOOL_SIZE: "1" } },
  { name: "many threads", env: { UV_THREADPOOL_SIZE: "64" } },
  { name: "ordinary user", isOrdinary: true, directory: "of the user" },
  { name: "one id", isOrdinary: true, isOneId: true },
  { name: "runc as ordinary user", isOrdinary: true, runtime: "runc" },
  { name: "imported cache", cache: "imported", directory: "elsewhere" },
  {
    name: "other host name",
    ...(isRoot ? { wrapper: ["unshare", "--uts", "sh", "-c", 'hostname other; exec "$@"', "sh"] } : {}),
  },
];

// Supplementary groups are not written to a file: where there is one id, nobody may set any (user_namespaces(7)).
const DOCKERFILE = `
FROM base AS compile
ARG GREETING=hello
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch \\
    echo x >> /cache/x; umask > umask; env | sort > environment; hostname > name; id -u > user; touch now; \\
    mkdir -p out/a/b && cat large text > out/a/b/both && ln out/a/b/both out/hard && ln -s a/b out/link && chmod 4755 out/hard
FROM base AS assets
ADD data.tar.gz /data/
COPY --chmod=0640 --chown=app <<END /data/here
$PATH of a here document
END
FROM base
COPY --link --from=assets --chown=1000:1000 /data /srv
COPY --from=compile /src /src
RUN rm /bin/wget && echo extra:x:1001:1001::/:/bin/sh >> /etc/passwd && mkfifo /src/pipe
WORKDIR /made/anew
USER app
CMD ["sh"]
`;

/** More than a block of the compressor. */
const LARGE_BYTES = 3 << 20;

/** The image's digest in each environment, by name. Throws when a build fails. */
export async function digestsIn(
  environments: readonly Environment[],
  onDigest: (name: string, digest: string) => void = () => {},
): Promise<ReadonlyMap<string, string>> {
  const files = await filesOfContext();
  const digests = new Map<string, string>();
  for (const environment of environments) {
    using shop = await openWorkshop(environment.isOrdinary === true ? ordinaryUser() : self());
    const digest = await digestIn(shop, environment, files);
    digests.set(environment.name, digest);
    onDigest(environment.name, digest);
  }
  return digests;
}

async function digestIn(
  shop: Workshop,
  {
    directory = "context",
    umask = "022",
    env = {},
    wrapper = [],
    runtime,
    isOneId,
    cache = "cold",
    mtime = 0,
  }: Environment,
  files: Readonly<Record<string, string | Buffer>>,
): Promise<string> {
  const context = checkOut(shop, directory, files, { umask: Number.parseInt(umask, 8), mtime });
  const program = join(programDir(shop.account), "dist", "bin", "tsbuild.cjs");
  const build = async (root: string, args: readonly string[]): Promise<void> => {
    const command = ["sh", "-c", `umask ${umask}; exec "$@"`, "sh", ...wrapper, process.execPath, program];
    const runtimes = runtime === undefined ? [] : ["--oci-runtime", needs(runtime)];
    await shop.ok(["build", "--context-mode=git", ...runtimes, ...args, context], {
      ...{ root: shop.at(root), env, command },
      ...(isOneId === true ? { oneId: true } : {}),
    });
  };
  const archive = [
    "-o",
    `type=oci,dest=${shop.at("image.tar")}`,
    "--metadata-file",
    shop.at("metadata.json"),
  ];
  const place = shop.at("cache");
  if (cache === "warm") await build("store", ["-o", "type=cacheonly"]);
  if (cache.startsWith("imported")) {
    const how = cache === "imported" ? ["--reproducible"] : [];
    await build("other", [...how, "-o", "type=cacheonly", "--cache-to", `type=local,dest=${place},mode=max`]);
  }
  const from = cache.startsWith("imported") ? ["--cache-from", `type=local,src=${place}`] : [];
  await build("store", ["--reproducible", ...from, ...archive]);
  return JSON.parse(readFileSync(shop.at("metadata.json"), "utf8"))["containerimage.digest"];
}

async function filesOfContext(): Promise<Readonly<Record<string, string | Buffer>>> {
  const tar = pack();
  tar.entry(
    { name: "inside/file", mtime: new Date(86_400_000), mode: 0o664, uid: 7, gid: 8 },
    "in an archive\n",
  );
  tar.finalize();
  const data = execFileSync("gzip", ["-n"], { input: await buffer(tar) });
  const large = Buffer.concat(
    Array.from({ length: LARGE_BYTES / 32 }, (_, index) =>
      createHash("sha256")
        .update(String(index >> 3))
        .digest(),
    ),
  );
  return {
    Dockerfile: DOCKERFILE,
    text: "text\n",
    "run.sh": "#!/bin/sh\n",
    "dir/ä/İ": "i\n",
    "data.tar.gz": data,
    large,
  };
}

/** As git checks out with a umask. */
function checkOut(
  shop: Workshop,
  directory: string,
  files: Readonly<Record<string, string | Buffer>>,
  { umask, mtime }: { readonly umask: number; readonly mtime: number },
): string {
  const context = shop.context(directory, Object.fromEntries(Object.keys(files).map((name) => [name, ""])));
  for (const [name, data] of Object.entries(files)) writeFileSync(join(context, name), data);
  for (const name of readdirSync(context, { recursive: true, encoding: "utf8" })) {
    const path = join(context, name);
    const isProgram = statSync(path).isDirectory() || name.endsWith(".sh");
    chmodSync(path, (isProgram ? 0o777 : 0o666) & ~umask);
    utimesSync(path, mtime, mtime);
  }
  return context;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const digests = await digestsIn(ENVIRONMENTS, (name, digest) => console.log(`${digest}  ${name}`)); // oxlint-disable-line no-console
  assert.equal(new Set(digests.values()).size, 1, "the digests differ");
}

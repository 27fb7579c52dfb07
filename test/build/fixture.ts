// A store, a base image and contexts for complete builds.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { execFileSync } from "node:child_process";
import { writeBaseImage } from "../support/base-image.ts";
import {
  type CliOptions,
  type Outcome,
  type RunningCommand,
  startTsbuild,
  tsbuild,
  tsbuildOk,
} from "../support/cli.ts";
import { type DebianRegistry, startRegistry } from "../support/registry.ts";
import { temporaryDir } from "../support/store.ts";
import { type Account, self } from "../support/unprivileged.ts";

export interface Workshop extends Disposable {
  readonly dir: string;
  readonly root: string;
  readonly account: Account;
  /** Writes files (a directory for each part of a name as needed) below `name`; returns the absolute path of that. */
  context(name: string, files: Readonly<Record<string, string>>): string;
  at(...names: string[]): string;
  /** `tsbuild ARGS` on this store; `build` gets the base image as a context named "base". Throws when it fails. */
  ok(args: readonly string[], options?: Partial<CliOptions>): Promise<Outcome>;
  run(args: readonly string[], options?: Partial<CliOptions>): Promise<Outcome>;
  start(args: readonly string[], options?: Partial<CliOptions>): RunningCommand;
}

/** A directory of `account` with an empty store, and a busybox base image. */
export async function openWorkshop(account: Account = self()): Promise<Workshop> {
  const dir = temporaryDir(account);
  const base = dir.at("base");
  await writeBaseImage(base);
  const own = (path: string): void => {
    if (account.uid !== process.getuid?.())
      execFileSync("chown", ["-R", `${account.uid}:${account.gid}`, path]);
  };
  own(base);
  const full = (args: readonly string[]): string[] =>
    args[0] === "build"
      ? ["build", "--build-context", `base=oci-layout://${base}`, ...args.slice(1)]
      : [...args];
  const options = (more: Partial<CliOptions> = {}): CliOptions => ({
    account,
    root: dir.at("store"),
    cwd: dir.path,
    ...more,
  });
  return {
    dir: dir.path,
    root: dir.at("store"),
    account,
    at: dir.at,
    context(name, files) {
      const path = dir.at(name);
      mkdirSync(path, { recursive: true });
      for (const [file, text] of Object.entries(files)) {
        mkdirSync(dirname(join(path, file)), { recursive: true });
        writeFileSync(join(path, file), text);
      }
      own(path);
      return path;
    },
    ok: (args, more) => tsbuildOk(full(args), options(more)),
    run: (args, more) => tsbuild(full(args), options(more)),
    start: (args, more) => startTsbuild(full(args), options(more)),
    [Symbol.dispose]: () => dir[Symbol.dispose](),
  };
}

/** For the tests of one describe: a registry for all of them, and for each a workshop, given to `begin` with a number that no
 *  other test has. */
export function eachWithRegistry(
  account: Account,
  begin: (fresh: {
    readonly shop: Workshop;
    readonly registry: DebianRegistry;
    readonly serial: number;
  }) => void | Promise<void>,
): void {
  let shop: Workshop;
  let registry: DebianRegistry;
  let serial = 0;
  before(async () => {
    registry = await startRegistry();
  });
  after(() => registry[Symbol.asyncDispose]());
  beforeEach(async () => {
    shop = await openWorkshop(account);
    await begin({ shop, registry, serial: serial++ });
  });
  afterEach(() => shop[Symbol.dispose]());
}

/** Three stages: two that do not know each other, and one that takes from both. */
export const THREE_STAGES: Readonly<Record<string, string>> = {
  Dockerfile: `
FROM base AS compile
WORKDIR /src
COPY src .
RUN tr a-z A-Z < program.txt > program.out && chmod 4755 program.out

FROM base AS assets
RUN mkdir -p /assets/empty && echo style > /assets/style.css && ln -s style.css /assets/main.css

FROM base
ENV GREETING=hello
COPY --from=compile /src/program.out /usr/bin/program
COPY --from=assets --chown=1000:1000 /assets /srv
RUN rm /bin/wget && echo extra:x:1001:1001::/:/bin/sh >> /etc/passwd
WORKDIR /srv
USER app
ENTRYPOINT ["sh", "-c"]
CMD ["echo $GREETING; id -u; cat /usr/bin/program; cat main.css; test ! -e /bin/wget && grep -c extra /etc/passwd"]
`,
  "src/program.txt": "compiled\n",
};
/** What an image of THREE_STAGES prints. */
export const THREE_STAGES_OUTPUT = "hello\n1000\nCOMPILED\nstyle\n1\n";

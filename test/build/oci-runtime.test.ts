// --oci-runtime: the same image with every runtime.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { dirname } from "node:path";
import { execFileSync } from "node:child_process";
import { needs } from "../support/needs.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

/** Every kind of mount, users, a missing working directory, targets through links and into missing directories. */
const EVERYTHING = `
FROM base AS tools
RUN mkdir -p /tools/bin && echo tool > /tools/bin/tool && ln -s /var/spool /tools/link
FROM base
RUN mkdir -p /var/lib/real && ln -s /var/lib/real /linked && ln -s ../nowhere/yet /dangling \\
  && echo app:x:1000:1000::/home/app:/bin/sh >> /etc/passwd && echo extra:x:2000:app >> /etc/group
WORKDIR /made/by/workdir
COPY file .
RUN --network=none --mount=type=bind,from=tools,source=/tools,target=/opt/deep/tools \
    --mount=type=bind,source=file,target=/etc/bound \
    --mount=type=bind,target=/written,rw \
    --mount=type=cache,id=everything,target=/cache/below,uid=1000,mode=0750 \
    --mount=type=cache,id=nested,target=/cache/below/nested \
    --mount=type=tmpfs,target=/linked/tmp,size=1m \
    --mount=type=tmpfs,target=/dangling \
    --mount=type=secret,id=word,target=/run/deep/secret,mode=0440 \
    --mount=type=secret,id=word,env=WORD \
    --mount=type=ssh,target=/run/agents/one,mode=0666 <<END
set -e
cat /opt/deep/tools/bin/tool /etc/bound /run/deep/secret > all
echo "$WORD" >> all
echo lost > /written/lost; echo kept > /cache/below/kept; echo kept > /cache/below/nested/kept
echo lost > /linked/tmp/lost; echo lost > /dangling/lost
test -S /run/agents/one
stat -c '%n %a %u %g %F' /run/deep/secret /cache/below /dev/null /dev/shm /proc /sys >> all
grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status >> all
ulimit -n >> all; umask >> all; hostname >> all; id >> all; env | sort >> all; cat /etc/hosts >> all
END
RUN --mount=type=bind,from=tools,target=/tools ls /tools/bin > /dev/null
RUN --network=host test -d /sys/class/net && rm -rf /var/cache/none
USER app
RUN id > /tmp/id && cat /cache/below/kept 2> /dev/null || echo none > /tmp/cache
WORKDIR /home/app/new
RUN pwd > /tmp/where
`;
const RUNTIMES = [null, "crun", "runc"];

for (const account of accounts()) {
  describe(`--oci-runtime as ${account.name}`, () => {
    let shop: Workshop;
    let agent: Server;
    before(async () => {
      shop = await openWorkshop(account);
      agent = createServer().listen(shop.at("agent"));
      await new Promise((resolve) => agent.once("listening", resolve));
      execFileSync("chmod", ["666", shop.at("agent")]);
    });
    after(() => {
      agent.close();
      shop[Symbol.dispose]();
    });

    it("gives the image of the built-in sandbox, bit by bit", async () => {
      const context = shop.context("everything", { Dockerfile: EVERYTHING, file: "file\n", word: "secret" });
      const digests: Record<string, unknown> = {};
      for (const runtime of RUNTIMES) {
        const metadata = shop.at(`${runtime}.json`);
        const args = ["--reproducible", "--ulimit", "nofile=99:999", "--add-host", "db:10.0.0.1"];
        args.push("--allow", "network.host", "--ssh", `default=${shop.at("agent")}`);
        args.push("--secret", `id=word,src=${shop.at("everything/word")}`, "--metadata-file", metadata);
        const env = runtime === null ? {} : { TSBUILD_OCI_RUNTIME: needs(runtime) };
        await shop.ok(["build", ...args, context], { root: shop.at(`store-${runtime}`), env });
        digests[String(runtime)] = (JSON.parse(readFileSync(metadata, "utf8")) as Record<string, unknown>)[
          "containerimage.digest"
        ];
      }
      assert.match(String(digests["null"]), /^sha256:/);
      assert.deepEqual(digests, { null: digests["null"], crun: digests["null"], runc: digests["null"] });
    });

    it("runs what it was told to run: another program with that command line as well", async () => {
      mkdirSync(dirname(shop.at("bin/wrapper")), { recursive: true });
      shop.context("bin", {
        wrapper: `#!/bin/sh\necho "$@" >> ${shop.at("bin/calls")}\nexec ${needs("runc")} "$@"\n`,
        calls: "",
      });
      execFileSync("chmod", ["755", shop.at("bin/wrapper")]);
      const context = shop.context("wrapped", { Dockerfile: "FROM base\nRUN exit 7\n" });
      const { code, stderr } = await shop.run(["build", "--oci-runtime", "bin/wrapper", context]);
      assert.notEqual(code, 0);
      assert.match(stderr, /exit code: 7/);
      const calls = readFileSync(shop.at("bin/calls"), "utf8").trim().split("\n");
      assert.deepEqual(
        calls.map((line) => /--version|\b(?:create|start|delete)\b/.exec(line)?.[0]),
        ["--version", "create", "start", "delete"],
      );
    });

    it("says what to install for a runtime that is not there, before any step", async () => {
      const context = shop.context("missing", { Dockerfile: "FROM base\nRUN echo never\n" });
      const named = await shop.run(["build", "--oci-runtime", "youki", context], {
        env: { PATH: "/nowhere" },
      });
      assert.notEqual(named.code, 0);
      assert.match(named.stderr, /the OCI runtime "youki" is not installed/);
      assert.match(named.stderr, /apt-get install youki/);
      assert.doesNotMatch(named.stderr, /never/);
      const placed = await shop.run(["build", "--oci-runtime", "./no/such", context]);
      assert.match(placed.stderr, /the OCI runtime \/.*\/no\/such does not exist/);
      const other = await shop.run(["build", "--oci-runtime", "/bin/false", context]);
      assert.match(other.stderr, /\/bin\/false is not an OCI runtime/);
    });

    it("is for tsbuild run too, with a terminal", async () => {
      const context = shop.context("runs", { Dockerfile: "FROM base\nRUN echo made > /made\n" });
      await shop.ok(["build", "-t", "runs", context]);
      for (const runtime of ["crun", "runc"]) {
        const args = ["run", "--oci-runtime", needs(runtime), "-t", "runs", "sh", "-c"];
        const { code, stdout } = await shop.run([
          ...args,
          "test -t 0 && test -c /dev/console; cat /made; exit 3",
        ]);
        assert.deepEqual([code, stdout], [3, "made\r\n"]);
      }
    });
  });
}

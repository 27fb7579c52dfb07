// RUN --mount, secrets, and what a step must not be able to do.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`RUN as ${account.name}`, () => {
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
    });
    after(() => shop[Symbol.dispose]());

    it("sees a secret while it runs, and nothing of it stays in the image or the store", async () => {
      const secret = `s3cret-${process.pid}`;
      const canary = `canary-${process.pid}`;
      const context = shop.context("secret", {
        Dockerfile: `
FROM base
RUN --mount=type=secret,id=token tr 0-9 x < /run/secrets/token | wc -c > /length
RUN echo ${canary} > /canary
`,
      });
      await shop.ok(["build", "-t", "secret", "--secret", "id=token,env=TOKEN", context], {
        env: { TOKEN: secret },
      });
      const { stdout } = await shop.ok([
        "run",
        "secret",
        "sh",
        "-c",
        "cat /length; ls -A /run 2> /dev/null || true",
      ]);
      assert.equal(stdout, `${secret.length}\n`);
      const search = (text: string) =>
        spawnSync("grep", ["-rl", "--", text, shop.root], { encoding: "utf8" }).stdout;
      assert.match(search(canary), /\/canary$/m); // what is in the store is found
      assert.equal(search(secret), "");
    });

    it("has an empty variable for an optional secret that is not given", async () => {
      const mount = "--mount=type=secret,id=none,env=NONE";
      const context = shop.context("optional", {
        Dockerfile: `FROM base\nRUN ${mount} env | grep '^NONE=' > /seen\n`,
      });
      await shop.ok(["build", "-t", "optional", context]);
      assert.equal((await shop.ok(["run", "optional", "cat", "/seen"])).stdout, "NONE=\n");
    });

    it("keeps a cache mount from build to build, out of the image", async () => {
      const step = (line: string) =>
        `FROM base\nRUN --mount=type=cache,target=/cache echo ${line} >> /cache/log && cat /cache/log > /seen\n`;
      await shop.ok(["build", "-t", "cache", shop.context("cache", { Dockerfile: step("one") })]);
      await shop.ok(["build", "-t", "cache", shop.context("cache", { Dockerfile: step("two") })]);
      const { stdout } = await shop.ok([
        "run",
        "cache",
        "sh",
        "-c",
        "cat /seen; ls -A /cache 2> /dev/null || true",
      ]);
      assert.equal(stdout, "one\ntwo\n");
    });

    it("empties the cache mounts of a step that must not be cached, and no others", async () => {
      const context = shop.context("emptied", {
        Dockerfile: `
FROM base AS other
ARG WORD
RUN --mount=type=cache,id=kept,target=/c echo $WORD >> /c/log && cat /c/log > /seen
FROM base AS forced
RUN --mount=type=cache,target=/empty --mount=type=cache,from=base,source=/etc,target=/seeded \\
  echo x >> /empty/log && echo x >> /seeded/log && cat /empty/log /seeded/log > /seen
COPY --from=other /seen /other
`,
      });
      await shop.ok(["build", "--build-arg", "WORD=1", context]);
      const again = ["--build-arg", "WORD=2", "--no-cache-filter", "forced", context];
      await shop.ok(["build", "-t", "emptied", ...again]);
      assert.equal((await shop.ok(["run", "emptied", "cat", "/seen", "/other"])).stdout, "x\nx\n1\n2\n");
    });

    it("gives a cache that is named twice in one step as one directory", async () => {
      for (const sharing of ["shared", "locked", "private"]) {
        const mount = (target: string) =>
          `--mount=type=cache,id=twice-${sharing},sharing=${sharing},target=${target}`;
        const context = shop.context(`twice-${sharing}`, {
          Dockerfile: `FROM base\nRUN ${mount("/a")} ${mount("/b")} echo one > /a/file && cat /b/file > /seen\n`,
        });
        await shop.ok(["build", "-t", "twice", context]);
        assert.equal((await shop.ok(["run", "twice", "cat", "/seen"])).stdout, "one\n");
      }
    });

    it("shares a new cache between steps that run at the same time", async () => {
      // Each waits for what the other writes: one after the other they would wait in vain.
      const step = (own: string, other: string) =>
        `RUN --mount=type=cache,id=met,target=/c echo > /c/${own}; for i in $(seq 600); do test -e /c/${other} && exit; sleep 0.1; done; exit 1`;
      const context = shop.context("met", {
        Dockerfile: `FROM base AS one\n${step("1", "2")}\nFROM base AS two\n${step("2", "1")}\nFROM base\nCOPY --from=one /bin /1\nCOPY --from=two /bin /2\n`,
      });
      await shop.ok(["build", "-q", context]);
    });

    it("reads the context through a bind mount, and changes to it are gone afterwards", async () => {
      const context = shop.context("bind", {
        Dockerfile:
          "FROM base\nRUN --mount=type=bind,target=/ctx,rw echo more >> /ctx/file && cp /ctx/file /copy\nCOPY file /file\n",
        file: "text\n",
      });
      await shop.ok(["build", "-t", "bind", context]);
      assert.equal((await shop.ok(["run", "bind", "cat", "/copy", "/file"])).stdout, "text\nmore\ntext\n");
    });

    it("has a tmpfs where it asks for one", async () => {
      const context = shop.context("tmpfs", {
        Dockerfile:
          "FROM base\nRUN --mount=type=tmpfs,target=/fast grep -q ' /fast tmpfs' /proc/mounts && echo x > /fast/file\n",
      });
      await shop.ok(["build", "-t", "tmpfs", context]);
      assert.equal(
        (await shop.ok(["run", "tmpfs", "sh", "-c", "ls -A /fast 2> /dev/null || true"])).stdout,
        "",
      );
    });

    it("has no network with --network=none", async () => {
      const context = shop.context("offline", {
        Dockerfile:
          "FROM base\nRUN --network=none ls /sys/class/net 2>/dev/null > /links; cat /proc/net/dev | tail -n +3 | cut -d: -f1 > /links\n",
      });
      await shop.ok(["build", "-t", "offline", context]);
      assert.equal((await shop.ok(["run", "offline", "cat", "/links"])).stdout.trim(), "lo");
    });

    it("is root in its image and nobody outside: it cannot mount, load modules or see our processes", async () => {
      const dockerfile = `
FROM base
RUN id -u > /report
RUN ! mount -t tmpfs none /mnt 2>/dev/null && ! mknod /dev/sda b 8 0 2>/dev/null && ls /proc | grep -c '^[0-9]' >> /report
`;
      await shop.ok(["build", "-t", "confined", shop.context("confined", { Dockerfile: dockerfile })]);
      const [uid, processes] = (await shop.ok(["run", "confined", "cat", "/report"])).stdout
        .trim()
        .split("\n");
      assert.equal(uid, "0");
      assert.ok(Number(processes) <= 4, `it sees ${processes} processes`);
    });

    it("gives the failing command's words, its exit code and the marked line", async () => {
      const context = shop.context("failing", {
        Dockerfile: "FROM base\nRUN echo the reason >&2; exit 42\n",
      });
      const { code, stderr } = await shop.run(["build", context]);
      assert.equal(code, 1);
      assert.match(stderr, /the reason/);
      assert.match(stderr, /exit code: 42/);
      assert.match(stderr, /2 \| >>> RUN echo the reason >&2; exit 42/);
    });
  });
}

// Root of a step has no privileges on the host, whoever builds; even for the machine's root, whose ids are not mapped to others. Letters
// and numbers in the names are the rules of the threat model.

import assert from "node:assert/strict";
import { lstatSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

/** What root of the machine may do and root of any other user namespace may not. */
const ATTEMPTS = [
  "nice -n -5 true", // CAP_SYS_NICE
  "(ulimit -n 100; ulimit -Hn 200)", // CAP_SYS_RESOURCE
  "mknod /disk b 8 0", // CAP_MKNOD
  "mknod /memory c 1 1",
  "mount -t devtmpfs none /mnt", // CAP_SYS_ADMIN
];

for (const account of accounts()) {
  describe(`root of a step built by ${account.name}`, () => {
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
    });
    after(() => shop[Symbol.dispose]());

    /** What the steps of this Dockerfile leave in /report. */
    async function report(
      name: string,
      lines: readonly string[],
      files: Readonly<Record<string, string>> = {},
      flags: readonly string[] = [],
    ): Promise<string> {
      const context = shop.context(name, { Dockerfile: ["FROM base", ...lines, ""].join("\n"), ...files });
      await shop.ok(["build", ...flags, "-t", name, context]);
      return (await shop.ok(["run", "--rm", name, "cat", "/report"])).stdout.trim();
    }

    it("is in a user namespace of its own (E1)", async () => {
      const inside = await report("namespace", ["RUN readlink /proc/self/ns/user > /report"]);
      assert.match(inside, /^user:\[\d+\]$/);
      assert.notEqual(inside, readlinkSync("/proc/self/ns/user"));
    });

    for (const security of ["sandbox", "insecure"] as const) {
      it(`has no capability outside it, with --security=${security} (E3, E5)`, async () => {
        const attempts = ATTEMPTS.map(
          (attempt) => `if ${attempt}; then echo '${attempt}' >> /report; fi 2>/dev/null >&2`,
        );
        const script = ["mkdir -p /mnt; echo none > /report", ...attempts].join("; ");
        const allow = security === "insecure" ? ["--allow", "security.insecure"] : [];
        assert.equal(
          await report(`outside-${security}`, [`RUN --security=${security} ${script}`], {}, allow),
          "none",
        );
      });
    }

    it("gets no device of the host but the standard ones (E4)", async () => {
      const found = await report("devices", [
        "RUN for f in /dev/* /dev/*/*; do test -b $f && echo $f; done > /report; find /dev -type c | sort >> /report",
      ]);
      assert.deepEqual(
        found.split("\n").filter((path) => !/^\/dev\/(pts\/(ptmx|\d+)|ptmx)$/.test(path)),
        ["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"],
      );
    });

    it("changes no file of the context it is given by bind mount, writable or not (P8, S3)", async () => {
      const context = shop.context("context", { file: "mine\n" });
      const path = join(context, "file");
      const before = lstatSync(path);
      const change = "echo x > /c/file; chmod 4777 /c/file; chown 7:7 /c/file; rm -f /c/file; mkdir /c/new";
      await report("context", [
        `RUN --mount=type=bind,target=/c,rw (${change}) 2>/dev/null; ls /c > /report`,
        `RUN --mount=type=bind,target=/c (${change}) 2>/dev/null; cat /c/file >> /report`,
      ]);
      const after = lstatSync(path);
      assert.equal(readFileSync(path, "utf8"), "mine\n");
      assert.deepEqual(
        [after.mode, after.uid, after.gid, after.ino, after.mtimeMs],
        [before.mode, before.uid, before.gid, before.ino, before.mtimeMs],
      );
      assert.deepEqual(readdirSync(context).toSorted(), ["Dockerfile", "file"]);
    });

    it("finds no way to the directory the store is in (E1, E2, P7)", async () => {
      const marker = shop.at("host-marker");
      writeFileSync(marker, "the host's");
      const ways = [
        ...["/proc/1/root", "/proc/self/cwd", "/proc/1/cwd", "/proc/thread-self/root", "/dev/fd/3"],
        ...["/proc/self/fd/3", "/..", "/proc/1/root/../../../..", "/sys/.."],
      ].map((way) => `${way}${marker}`);
      assert.equal(
        await report("store", [
          // The image's own links lead nowhere else either.
          "RUN ln -s / /proc-link && ln -s ../../../../../../../.. /up",
          `RUN echo none > /report; for f in ${ways.join(" ")} /up${marker} /proc-link${marker} ${marker}; do ` +
            "test -e $f && echo $f >> /report; echo x 2>/dev/null > $f; done; true",
        ]),
        "none",
      );
      assert.equal(readFileSync(marker, "utf8"), "the host's");
    });

    it("makes setuid files that nobody else on the host can reach (S5, T8)", async () => {
      await report("setuid", ["RUN cp /bin/busybox /su && chmod 4755 /su && stat -c %a /su > /report"]);
      const { mode, uid } = lstatSync(shop.root);
      assert.equal(mode & 0o077, 0);
      assert.equal(uid, account.uid);
    });
  });
}

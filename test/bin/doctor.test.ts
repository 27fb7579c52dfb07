// `tsbuild doctor` as root and as an ordinary user, on this machine and on machines that really lack something.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Finding } from "../../worker/probe-words.ts";
import { renderFindings } from "../../bin/commands/doctor.ts";
import { openStore } from "../../cache/store.ts";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { tsbuild } from "../support/cli.ts";
import { temporaryDir, type TemporaryDir } from "../support/store.ts";
import { type Account, accounts, ordinaryUser, programDir, self } from "../support/unprivileged.ts";

interface Report {
  readonly works: boolean;
  readonly checks: readonly Finding[];
}
const check = (report: Report, id: Finding["id"]): Finding | undefined =>
  report.checks.find((finding) => finding.id === id);
const WITHOUT_HELPERS = { PATH: "/nowhere" };

for (const account of accounts()) {
  describe(`doctor for ${account.uid === 0 ? "root" : "an ordinary user"}`, () => {
    let dir: TemporaryDir;
    beforeEach(() => {
      dir = temporaryDir(account);
    });
    afterEach(() => {
      dir[Symbol.dispose]();
    });

    it("finds by trying that builds work here", async () => {
      const { code, stdout } = await tsbuild(["doctor", "--format=json"], { account, root: dir.at("store") });
      const report = JSON.parse(stdout) as Report;
      assert.equal(code, 0);
      assert.equal(report.works, true);
      for (const id of ["node", "kernel", "namespaces", "ids", "overlay", "sandbox", "seccomp"] as const)
        assert.notEqual(check(report, id)?.state, "missing", id);
      assert.equal(check(report, "overlay")?.state, "ok");
      assert.equal(check(report, "seccomp")?.state, "ok");
      assert.equal(check(report, "ids")?.state, "ok");
      assert.match(check(report, "network")?.found ?? "", /pasta/);
      for (const { state, consequence, fix } of report.checks) {
        if (state === "ok") assert.deepEqual([consequence, fix], [null, null]);
        else assert.match(consequence ?? "", /^[A-Z-].*\.$/);
      }
    });

    it("says it in a table with a verdict", async () => {
      const { stdout } = await tsbuild(["doctor"], { account, root: dir.at("store") });
      assert.match(stdout, /^ok {7}overlayfs +mounted two layers and wrote to them$/m);
      assert.match(stdout, /\n\nBuilds work on this machine[^\n]*\.\n$/);
    });

    it("says what is missing where no namespace may be made, and how to have them", async () => {
      const { code, stdout } = await withoutNamespaces(account, dir.at("store"), ["doctor", "--format=json"]);
      const report = JSON.parse(stdout) as Report;
      assert.equal(code, 1);
      assert.equal(report.works, false);
      const namespaces = check(report, "namespaces");
      assert.equal(namespaces?.state, "missing");
      assert.equal(namespaces?.fix, "sysctl -w user.max_user_namespaces=28633");
    });
  });
}

describe("doctor without the programs it would like", () => {
  const account = ordinaryUser();
  let dir: TemporaryDir;
  beforeEach(() => {
    dir = temporaryDir(account);
  });
  afterEach(() => {
    dir[Symbol.dispose]();
  });

  it("names the packages of newuidmap and pasta, and what builds do without", async () => {
    const { code, stdout } = await tsbuild(["doctor", "--format=json"], {
      account,
      root: dir.at("store"),
      env: WITHOUT_HELPERS,
    });
    const report = JSON.parse(stdout) as Report;
    assert.equal(code, 0, "builds work with one id and a network that is forwarded");
    const ids = check(report, "ids");
    assert.deepEqual([ids?.state, ids?.fix], ["limited", "apt-get install uidmap"]);
    assert.match(ids?.consequence ?? "", /chown/);
    const network = check(report, "network");
    assert.deepEqual([network?.state, network?.fix], ["limited", "apt-get install passt"]);
    assert.match(network?.consequence ?? "", /forwards the connections of RUN steps itself/);
  });

  it("says of a newuidmap that may not do its work what to change", async () => {
    const { code, stdout } = await command(
      account,
      ["setpriv", "--no-new-privs", process.execPath, cli(account), "doctor", "--format=json"],
      dir.at("store"),
    );
    const ids = check(JSON.parse(stdout) as Report, "ids");
    assert.equal(code, 1);
    assert.equal(ids?.state, "missing");
    assert.match(ids?.fix ?? "", /no_new_privs/);
  });

  it("says of a store it may not write that nothing else was tried", async () => {
    const closed = dir.at("closed");
    mkdirSync(closed);
    chmodSync(closed, 0o555);
    const { code, stdout } = await tsbuild(["doctor"], { account, root: join(closed, "store") });
    assert.equal(code, 1);
    assert.match(stdout, /^missing {2}store/m);
    assert.match(stdout, /Builds do not work on this machine\./);
  });
});

describe("what doctor knows, in builds", () => {
  const account = ordinaryUser();
  let shop: Workshop;
  beforeEach(async () => {
    shop = await openWorkshop(account);
  });
  afterEach(() => {
    shop[Symbol.dispose]();
  });

  it("is neither asked for nor found out by builds that succeed, cached or not", async () => {
    using own = await openWorkshop(self());
    const answerKept = async (): Promise<boolean> => {
      await using store = await openStore(own.root);
      return store.records.get("machine", "probe") !== null;
    };
    const context = own.context("app", { Dockerfile: "FROM base\nRUN echo hello > /greeting\n" });
    await own.ok(["build", context]);
    await own.ok(["build", context]);
    assert.equal(await answerKept(), false);
    await own.ok(["doctor"]);
    assert.equal(await answerKept(), true);
  });

  it("is a line for each lack with --verbose", async () => {
    const context = shop.context("app", { Dockerfile: "FROM base\nRUN echo hello > /greeting\n" });
    const { stderr } = await shop.ok(["build", "--verbose", "--progress=plain", context], {
      env: WITHOUT_HELPERS,
    });
    assert.match(stderr, /^user and group ids: .* fix: apt-get install uidmap$/m);
  });

  it("explains a RUN that needs other ids than the one there is", async () => {
    const context = shop.context("app", {
      Dockerfile: "FROM base\nRUN echo begin && chown 1000:1000 /etc/passwd\n",
    });
    const { code, stderr } = await shop.run(["build", "--progress=plain", context], { env: WITHOUT_HELPERS });
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^hint: the step needs more user and group ids than this user has: newuidmap is not installed: apt-get install uidmap$/m,
    );
  });

  it("does not blame the ids for a RUN that fails of something else", async () => {
    const context = shop.context("app", { Dockerfile: "FROM base\nRUN cat /not/there\n" });
    const { stderr } = await shop.run(["build", "--progress=plain", context], { env: WITHOUT_HELPERS });
    assert.doesNotMatch(stderr, /needs more ids/);
  });
});

describe("the table of doctor", () => {
  it("has no escape sequence of what was found, and counts the limits", () => {
    const text = renderFindings(
      [
        { id: "node", title: "Node", state: "ok", found: "v20\u001b[2J", consequence: null, fix: null },
        {
          id: "ids",
          title: "user and group ids",
          state: "limited",
          found: "one",
          consequence: "Some fail.",
          fix: "mend it",
        },
      ],
      true,
      null,
    );
    assert.equal(
      text,
      [
        "ok       Node                v20",
        "limited  user and group ids  one",
        "           Some fail.",
        "           fix: mend it",
        "",
        "Builds work on this machine, with one limitation.",
        "",
      ].join("\n"),
    );
  });
});

function cli(account: Account): string {
  return join(programDir(account), "dist", "bin", "tsbuild.cjs");
}

/** In a user namespace that may have none inside: the limit counts for the namespace it is written in. namespaces(7) */
function withoutNamespaces(
  account: Account,
  root: string,
  args: readonly string[],
): Promise<{ code: number; stdout: string }> {
  const script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"';
  return command(
    account,
    [
      "unshare",
      "--user",
      "--map-root-user",
      "sh",
      "-c",
      script,
      "sh",
      process.execPath,
      cli(account),
      ...args,
    ],
    root,
  );
}

function command(
  account: Account,
  [program = "", ...args]: readonly string[],
  root: string,
): Promise<{ code: number; stdout: string }> {
  return new Promise((resolve) => {
    execFile(
      program,
      args,
      {
        cwd: "/",
        env: { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR, HOME: root, TSBUILD_ROOT: root },
        ...(account.uid === process.getuid?.() ? {} : { uid: account.uid, gid: account.gid }),
      },
      (error, stdout) => resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout }),
    );
  });
}

// RUN --mount=type=ssh: OpenSSH's client inside a step reaches the agent outside.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { needs } from "../support/needs.ts";
import { ordinaryUser } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const account = ordinaryUser();

describe(`RUN --mount=type=ssh as ${account.name}`, () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop(account);
  });
  after(() => shop[Symbol.dispose]());

  it("lists the key files of --ssh, for the step's user too, and leaves nothing of them", async () => {
    const tools = shop.at("tools");
    const loader = copyWithLibraries(needs("ssh-add"), tools);
    const keys = shop.context("keys", {});
    const key = join(keys, "id");
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "of-the-test", "-f", key]);
    if (account.uid !== process.getuid?.()) execFileSync("chown", ["-R", `${account.uid}`, keys]);
    const list = `/tools/${loader} --library-path /tools /tools/ssh-add -L`;
    const context = shop.context("ssh", {
      Dockerfile: `
FROM base
RUN --mount=type=bind,from=tools,target=/tools --mount=type=ssh ${list} > /default
USER 1000
RUN --mount=type=bind,from=tools,target=/tools --mount=type=ssh,id=deploy,uid=1000,mode=0600,target=/tmp/agent \
  test "$(stat -c %u:%a /tmp/agent)" = 1000:600 && SSH_AUTH_SOCK=/tmp/agent ${list} > /tmp/deploy
`,
    });
    const ssh = ["--ssh", `default=${key}`, "--ssh", `deploy=${key}`];
    await shop.ok(["build", "-t", "ssh", "--build-context", `tools=${tools}`, ...ssh, context]);
    const expected = readFileSync(`${key}.pub`, "utf8");
    const { stdout } = await shop.ok(["run", "ssh", "cat", "/default", "/tmp/deploy"]);
    assert.equal(stdout, expected + expected);
    const left = readdirSync(join(shop.root, "tmp"), { recursive: true, encoding: "utf8" });
    assert.deepEqual(
      left.filter((name) => name.includes("ssh-")),
      [],
    );
  });

  it("says which id is missing", async () => {
    const context = shop.context("missing", {
      Dockerfile: "FROM base\nRUN --mount=type=ssh,id=deploy,required true\n",
    });
    const { code, stderr } = await shop.run(["build", context]);
    assert.notEqual(code, 0);
    assert.match(stderr, /unset ssh forward key deploy/);
  });
});

/** Copies a program and the libraries it loads into one directory; returns the name of the dynamic loader there. */
function copyWithLibraries(program: string, dir: string): string {
  mkdirSync(dir, { recursive: true });
  const listed = execFileSync("ldd", [program], { encoding: "utf8" });
  const libraries = listed.split("\n").flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? []);
  for (const path of [program, ...libraries]) {
    copyFileSync(path, join(dir, basename(path)));
    chmodSync(join(dir, basename(path)), 0o755);
  }
  const loader = libraries.map((path) => basename(path)).find((name) => name.startsWith("ld-"));
  assert.ok(loader !== undefined, listed);
  return loader;
}

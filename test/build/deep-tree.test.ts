// Threat model T6, D1: trees deeper than the path limit. A step creates one with mkdir and rename; exports
// refuse it by name, deleting works at any depth, and memory does not grow with the square of the depth.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeTar } from "../cache/layers/support.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

/** Each round adds 14 parts of 250 bytes and one of 1: 360 directories, more than the 64 a walk keeps open, 84 kB of path.
 *  Memory is measured in test/cache/layers/remove-tree.test.ts. */
const ROUNDS = 24;
/** Grows at the top, since no path reaches its bottom. */
const GROW = (dir: string): string =>
  `p=$(printf %0250d 0); s=$p; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do s=$s/$p; done; mkdir ${dir}/t; i=0; \
while [ $i -lt ${ROUNDS} ]; do mkdir -p ${dir}/n/$s && mv ${dir}/t ${dir}/n/$s/d && mv ${dir}/n ${dir}/t; i=$((i+1)); done`;

const DOCKERFILE = `
FROM base AS deep
RUN ${GROW("")}
FROM base AS failing
RUN ${GROW("")}; false
FROM base AS mounting
RUN --mount=type=cache,target=/cache ${GROW("/cache")}
FROM base AS copying
COPY --from=deep /t /t
FROM deep AS reading
RUN ls /t | wc -c && find /t -maxdepth 8 | wc -l
FROM base AS binding
RUN --mount=type=bind,from=deep,target=/deep ls /deep/t
FROM base AS context
COPY . /all
FROM base AS ignoring
COPY kept /kept
FROM base AS adding
ADD archive.tar /all
`;
const REFUSED = /the path ".+…0+" is longer than 4095 bytes/;

for (const account of accounts()) {
  describe(`a tree deeper than a path can say, as ${account.name}`, () => {
    let shop: Workshop;
    let context: string;
    before(async function () {
      this.timeout(600_000);
      shop = await openWorkshop(account);
      context = shop.context("app", { Dockerfile: DOCKERFILE, kept: "kept\n" });
      await shop.ok(["build", "--target", "deep", "--output=type=cacheonly", context]);
    });
    after(() => {
      // rm(1) goes to any depth, Node's own does not.
      execFileSync("rm", ["-rf", shop.dir]);
      shop[Symbol.dispose]();
    });

    const build = async (...flags: string[]) => shop.run(["build", ...flags, context]);

    it("is seen by later steps", async () => {
      const { code, stderr } = await build(
        "--target",
        "reading",
        "--progress=plain",
        "--output=type=cacheonly",
      );
      assert.equal(code, 0, stderr);
      assert.match(stderr, /251$/m);
    });

    it("is refused where it would leave as an image, a tar or files", async () => {
      for (const output of [
        ["-t", "deep"],
        ["-o", `type=tar,dest=${shop.at("deep.tar")}`],
        ["-o", `type=local,dest=${shop.at("deep")}`],
      ]) {
        const { code, stderr } = await build("--target", "deep", ...output);
        assert.equal(code, 1);
        assert.match(stderr, REFUSED);
      }
      assert.equal(existsSync(shop.at("deep.tar")), false);
    });

    it("is refused by COPY --from and by a mount, whose content is a key", async () => {
      for (const [target, line] of [
        ["copying", />>> COPY --from=deep/],
        ["binding", />>> RUN --mount=type=bind,from=deep/],
      ] as const) {
        const { code, stderr } = await build("--target", target);
        assert.equal(code, 1);
        assert.match(stderr, REFUSED);
        assert.match(stderr, line);
      }
    });

    it("is checked by fsck and counted by du", async () => {
      const { code, stdout } = await shop.run(["fsck"]);
      assert.equal(code, 0, stdout);
      await shop.ok(["du"]);
    });

    it("leaves nothing of a step that failed", async () => {
      const { code, stderr } = await build("--target", "failing");
      assert.equal(code, 1);
      assert.match(stderr, /exit code: 1/);
      assert.deepEqual(readdirSync(join(shop.root, "active")), []);
    });

    it("is removed by prune, from layers and cache mounts", async () => {
      await build("--target", "mounting");
      await shop.ok(["prune", "--all", "--force"]);
      assert.deepEqual(readdirSync(join(shop.root, "active")), []);
      const slots = readdirSync(join(shop.root, "mounts"), { encoding: "utf8", recursive: true });
      assert.deepEqual(
        slots.filter((name) => name.includes("slot-")),
        [],
      );
      assert.deepEqual(
        readdirSync(join(shop.root, "layers")).filter((id) => id.startsWith("r-")),
        [],
      );
    });

    it("in the context is refused with the path, unless an ignore rule leaves it out", async () => {
      const deep = shop.context("deep-context", { Dockerfile: DOCKERFILE, kept: "kept\n" });
      execFileSync("sh", ["-ec", GROW(deep)]);
      execFileSync("chown", [`${account.uid}:${account.gid}`, join(deep, "t")]);
      const { code, stderr } = await shop.run(["build", "--target", "context", deep]);
      assert.equal(code, 1);
      assert.match(stderr, REFUSED);
      await shop.ok(["build", "--target", "ignoring", deep]);
      writeFileSync(join(deep, ".dockerignore"), "t\n");
      await shop.ok(["build", "--target", "context", deep]);
      // An exception may lie anywhere below, so it has to be looked for.
      writeFileSync(join(deep, ".dockerignore"), "t\n!**/kept\n");
      const searched = await shop.run(["build", "--target", "context", deep]);
      assert.equal(searched.code, 1);
      assert.match(searched.stderr, REFUSED);
      execFileSync("rm", ["-rf", join(deep, "t")]);
    });

    it("in an archive is refused", async () => {
      const name = `t/${Array.from({ length: 3000 }, () => "0".repeat(250)).join("/")}`;
      writeFileSync(join(context, "archive.tar"), makeTar([{ name: "first" }, { name, content: "x" }]));
      const { code, stderr } = await build("--target", "adding");
      assert.equal(code, 1);
      assert.match(stderr, /a name has \d+ bytes/);
    });
  });
}

// Output files: complete or not present, and readable by others.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { needs } from "../support/needs.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, THREE_STAGES, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`outputs of a build as ${account.name}`, () => {
    let shop: Workshop;
    let context: string;
    before(async () => {
      shop = await openWorkshop(account);
      context = shop.context("app", THREE_STAGES);
    });
    after(() => shop[Symbol.dispose]());

    it("leaves the old file alone when a build fails, and no other file beside it", async () => {
      const out = shop.context("failing", { "image.tar": "old" });
      const broken = shop.context("broken", { Dockerfile: "FROM base\nRUN false\n" });
      const { code } = await shop.run(["build", "-o", `type=oci,dest=${out}/image.tar`, broken]);
      assert.equal(code, 1);
      assert.equal(readFileSync(`${out}/image.tar`, "utf8"), "old");
      assert.deepEqual(readdirSync(out), ["image.tar"]);
    });

    it("shows a file only when it is whole: a build killed while it writes leaves none", async () => {
      // 96 MB that do not compress: writing them takes a while
      const big = shop.context("big", {
        Dockerfile: "FROM base\nRUN head -c 96000000 /dev/urandom > /big\n",
      });
      const out = shop.context("out", {});
      const dest = `${out}/image.tar`;
      await shop.ok(["build", big]);
      const build = shop.start(["build", "--progress=plain", "-o", `type=oci,dest=${dest}`, big]);
      await build.says(/exporting/);
      build.kill("SIGKILL");
      await build.outcome;
      if (existsSync(dest))
        assert.match(execFileSync("tar", ["tf", dest], { encoding: "utf8" }), /^index\.json$/m);
      await shop.ok(["build", "-o", `type=oci,dest=${dest}`, big]);
      execFileSync(needs("skopeo"), ["inspect", `oci-archive:${dest}`]);
    });

    it("makes an archive skopeo reads, a docker archive with the name, a tar and a directory of the files", async () => {
      const at = (name: string) => shop.at(name);
      await shop.ok([
        ...[
          "build",
          "-t",
          "app:1",
          "-o",
          `type=oci,dest=${at("oci.tar")}`,
          "-o",
          `type=docker,dest=${at("docker.tar")}`,
        ],
        ...["-o", `type=tar,dest=${at("files.tar")}`, "-o", `type=local,dest=${at("files")}`, context],
      ]);
      const skopeo = (from: string) =>
        execFileSync(needs("skopeo"), ["inspect", "--config", from], { encoding: "utf8" });
      assert.match(skopeo(`oci-archive:${at("oci.tar")}`), /"User":\s*"app"/);
      assert.match(skopeo(`docker-archive:${at("docker.tar")}:app:1`), /"User":\s*"app"/);
      assert.equal(
        execFileSync("tar", ["xOf", at("files.tar"), "usr/bin/program"], { encoding: "utf8" }),
        "COMPILED\n",
      );
      assert.equal(readFileSync(at("files/usr/bin/program"), "utf8"), "COMPILED\n");
    });

    it("puts the files of all platforms together when they are not to be split, unless they are the same", async () => {
      const context = shop.context("split", {
        Dockerfile:
          "FROM scratch\nARG TARGETARCH\nARG NAME=$TARGETARCH\nCOPY of /$NAME\nCOPY --link of /dir/$NAME\n",
        of: "a file\n",
      });
      for (const [form, files] of [
        ["local", () => readdirSync(shop.at("flat"), { recursive: true })],
        ["tar", () => execFileSync("tar", ["-tf", shop.at("flat.tar")], { encoding: "utf8" }).split(/\/?\n/)],
      ] as const) {
        const dest = shop.at(form === "tar" ? "flat.tar" : "flat");
        const flags = [
          "--platform=linux/amd64,linux/arm64",
          "-o",
          `type=${form},dest=${dest},platform-split=false`,
        ];
        await shop.ok(["build", ...flags, context]);
        const found = files().filter((name) => name !== "");
        assert.deepEqual(found.sort(), ["amd64", "arm64", "dir", "dir/amd64", "dir/arm64"]);
        const { code, stderr } = await shop.run(["build", ...flags, "--build-arg", "NAME=same", context]);
        assert.equal(code, 1);
        assert.match(
          stderr,
          /cannot overwrite dir\/same from linux\/amd64 with linux\/arm64 when split option is disabled/,
        );
      }
    });

    it("says the image's id with -q and writes it with --iidfile", async () => {
      const { stdout, stderr } = await shop.ok(["build", "-q", "--iidfile", shop.at("iid"), context]);
      assert.match(stdout, /^sha256:[0-9a-f]{64}\n$/);
      assert.equal(stderr, "");
      assert.equal(readFileSync(shop.at("iid"), "utf8"), stdout.trim());
    });

    it("refuses to start without a directory for the output", async () => {
      writeFileSync(shop.at("file"), "");
      const { code, stderr } = await shop.run([
        "build",
        "-o",
        `type=oci,dest=${shop.at("file")}/x.tar`,
        context,
      ]);
      assert.equal(code, 1);
      assert.match(stderr, /x\.tar/);
    });
  });
}

// Two unchanged Dockerfiles of test/corpus, built on busybox instead of their base images. `npm run corpus` builds many more, for
// which it fetches packages.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../support/needs.ts";
import { projectDir } from "../support/project.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop } from "./fixture.ts";

const dockerfile = (name: string): string =>
  readFileSync(join(projectDir, "test", "corpus", name, "Dockerfile"), "utf8");

for (const account of accounts()) {
  describe(`Dockerfiles of the corpus, built by ${account.name}`, () => {
    it("scratch-files: a root file system from an archive", async () => {
      using shop = await openWorkshop(account);
      const context = shop.context("context", {
        Dockerfile: dockerfile("scratch-files"),
        "etc/motd": "welcome\n",
        "rootfs/etc/issue": "busybox\n",
      });
      const script = `mkdir rootfs/bin && cp "$1" rootfs/bin && ln -s busybox rootfs/bin/sh && ln -s busybox rootfs/bin/cat
        tar --owner=0 --group=0 -C rootfs -cf rootfs.tar . && "$2" rootfs.tar && rm -r rootfs`;
      execFileSync("sh", ["-ec", script, "sh", needs("busybox"), needs("xz")], { cwd: context });
      await shop.ok(["build", "-t", "scratch-files", context]);
      const { stdout } = await shop.ok(["run", "scratch-files", "cat", "/etc/issue", "/etc/motd"]);
      assert.equal(stdout, "busybox\nwelcome\n");
    });

    it("multi-arch-download: stages chosen by the platform", async () => {
      using shop = await openWorkshop(account);
      const context = shop.context("context", { Dockerfile: dockerfile("multi-arch-download") });
      const alpine = ["--build-context", `alpine:3.21=oci-layout://${shop.at("base")}`];
      await shop.ok(["build", ...alpine, "-t", "multi-arch", context]);
      const { stdout } = await shop.ok(["run", "multi-arch", "cat", "/arch", "/special"]);
      assert.equal(stdout, process.arch === "arm64" ? "aarch64\narm\n" : "x86_64\namd\n");
    });
  });
}

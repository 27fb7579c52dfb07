// Builds with neither pasta nor slirp4netns installed: no step uses the host's network without a warning.

import assert from "node:assert/strict";
import { readlinkSync, symlinkSync } from "node:fs";
import { accounts } from "../support/unprivileged.ts";
import { needs } from "../support/needs.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`A build without a network helper (${account.name})`, () => {
    let shop: Workshop;
    let env: Readonly<Record<string, string>>;
    before(async () => {
      shop = await openWorkshop(account);
      // All that a build may want but the helpers.
      shop.context("programs", {});
      for (const name of ["crun", "newuidmap", "newgidmap"])
        symlinkSync(needs(name), shop.at("programs", name));
      env = { PATH: shop.at("programs") };
    });
    after(() => shop[Symbol.dispose]());

    /** Steps that no other test has cached. */
    const dockerfile = (name: string): string =>
      `FROM base\nRUN echo one: $(readlink /proc/self/ns/net) ${name}\nRUN echo two: $(cat /etc/resolv.conf)\n`;
    const host = readlinkSync("/proc/self/ns/net");

    it("has steps in a network of their own, forwarded by tsbuild, and verbose output says so once", async () => {
      const context = shop.context("own", { Dockerfile: dockerfile("own") });
      const { stderr } = await shop.ok(["build", "--verbose", "--progress=plain", context], { env });
      const found = / one: (net:\[\d+\])/.exec(stderr)?.[1];
      assert.ok(found !== undefined && found !== host, stderr);
      assert.match(stderr, / two: nameserver 169\.254\.1\.1/);
      assert.equal(
        stderr.match(/tsbuild forwards the connections of RUN steps itself: /g)?.length,
        1,
        stderr,
      );
      assert.doesNotMatch(stderr, /warning/);
    });
    it("warns once, with the step, where there is only the host's network", async () => {
      const context = shop.context("host", { Dockerfile: `${dockerfile("host")}RUN true\n` });
      const args = ["build", "--oci-runtime=crun", "--progress=plain", context];
      const { stderr } = await shop.ok(args, { env });
      assert.equal(/ one: (net:\[\d+\])/.exec(stderr)?.[1], host, stderr);
      assert.match(stderr, /1 warning found/);
      assert.match(stderr, /echo one: .*the step used the host's network/);
      assert.match(stderr, /apt-get install passt/);
    });
    it("gives the host's network without a warning to who asked for it", async () => {
      const context = shop.context("asked", {
        Dockerfile: "FROM base\nRUN --network=host echo one: $(readlink /proc/self/ns/net)\n",
      });
      const args = ["build", "--allow=network.host", "--progress=plain", context];
      const { stderr } = await shop.ok(args, { env });
      assert.equal(/ one: (net:\[\d+\])/.exec(stderr)?.[1], host, stderr);
      assert.doesNotMatch(stderr, /warning/);
    });
  });
}

// tsbuild diff: images of the store, of a registry, layouts, archives and directories, by step, file and cause.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { buffer } from "node:stream/consumers";
import { pack } from "tar-stream";
import type { Comparison } from "../../bin/engine/compare/contract.ts";
import type { Finding } from "../../bin/engine/compare/findings.ts";
import { startRegistry } from "../support/registry.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

type Report = Comparison & { readonly findings: readonly Finding[] };

const DOCKERFILE = `FROM base
ARG WHEN
COPY kept /kept
RUN echo "$WHEN" > /stamp && chown 7:8 /stamp
RUN cp /stamp /copy
ENV WHEN=$WHEN
`;
const EPOCH = { env: { SOURCE_DATE_EPOCH: "1700000000" } };

for (const account of accounts())
  describe(`diff as ${account.name}`, function () {
    this.timeout(120_000);
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
      const context = shop.context("app", { Dockerfile: DOCKERFILE, kept: "kept\n" });
      for (const [name, when] of [
        ["one", "2026-01-02"],
        ["two", "2026-03-04"],
      ]) {
        const layout = `type=oci,tar=false,dest=${shop.at(`${name}.layout`)}`;
        const outputs = [
          "-o",
          "type=image",
          "-o",
          layout,
          "-o",
          `type=docker,dest=${shop.at(`${name}.tar`)}`,
        ];
        const args = [
          "--reproducible",
          "--provenance=true",
          "--build-arg",
          `WHEN=${when}`,
          "-t",
          name as string,
        ];
        await shop.ok(["build", ...args, ...outputs, context], EPOCH);
      }
    });
    after(() => shop[Symbol.dispose]());

    const reportOf = async (code: number, ...args: readonly string[]): Promise<Report> => {
      const { stdout, stderr, code: found } = await shop.run(["diff", "--format", "json", ...args]);
      assert.equal(found, code, stderr);
      return JSON.parse(stdout) as Report;
    };

    it("names the step, the file, the bytes and the cause; what follows is not a cause of its own", async () => {
      const { stdout, code } = await shop.run(["diff", "one", "two"]);
      assert.equal(code, 1);
      assert.match(stdout, /config\.Env\.WHEN: 2026-01-02 → 2026-03-04/);
      assert.match(stdout, / +4 \| RUN echo "\$WHEN" > \/stamp/); // the line is in the provenance
      assert.match(
        stdout,
        /\/stamp\n +content at line 1, byte 6, 2 bytes differ\n +A +2026-01-02\n +B +2026-03-04\n/,
      );
      assert.match(stdout, /date-text \(date or time in text\) in RUN .*Dockerfile:4\)/);
      assert.match(stdout, /1 file follows from an earlier step, .*Dockerfile:4\): copy/);
      const { findings } = await reportOf(1, "one", "two");
      assert.deepEqual(
        findings.map((one) => [one.class, one.step?.place?.line, one.files]),
        [
          ["date-text", 4, ["stamp"]],
          ["unknown", undefined, []], // ENV
        ],
      );
    });

    it("compares an image with the directory it is exported to", async () => {
      const rootfs = shop.at("rootfs");
      await shop.ok(
        ["build", "--reproducible", "--build-arg", "WHEN=2026-01-02", "-o", rootfs, shop.at("app")],
        EPOCH,
      );
      const { layers } = await reportOf(1, "two", rootfs);
      assert.deepEqual(
        layers.flatMap(({ files }) => files.map(({ path }) => path)),
        ["copy", "stamp"],
      );
    });

    if (account.name !== accounts()[0]?.name) return; // what is read is the same for all

    it("says the same of layouts, archives and a registry, with exit code 0 for what is the same", async () => {
      await using registry = await startRegistry();
      const pushed = `${registry.host}/two`;
      await shop.ok(
        ["build", "--reproducible", "--build-arg", "WHEN=2026-03-04", "--push", "-t", pushed, shop.at("app")],
        EPOCH,
      );
      const others = [
        `oci-layout://${shop.at("two.layout")}`,
        "./two.layout",
        "./two.tar",
        `docker://${pushed}`,
      ];
      for (const other of others) {
        const { findings } = await reportOf(1, "./one.layout", other, "-f", "app/Dockerfile");
        assert.deepEqual(findings.map((one) => [one.class, one.step?.place?.line, one.files]).slice(0, 1), [
          ["date-text", 4, ["stamp"]],
        ]);
        const same = await reportOf(0, "two", other);
        assert.deepEqual([same.same, same.layers, same.config], [true, [], []]);
      }
    });

    it("compares fields: mode, link, type, size, files of one side", async () => {
      const a = shop.context("a", { mode: "x", size: "1", gone: "x", "dir/file": "x" });
      const b = shop.context("b", { mode: "x", size: "12", "dir/file": "x", extra: "x" });
      execFileSync("sh", [
        "-c",
        `chmod 600 ${b}/mode && ln -s one ${a}/link && ln -s two ${b}/link && mkdir ${a}/type && touch ${b}/type && find ${a} ${b} -exec touch -hd @0 {} +`,
      ]);
      const { layers } = await reportOf(1, a, b);
      const fields = layers.flatMap(({ files }) =>
        files.map(({ path, change, fields: all }) => [path, change, all.map(({ field }) => field).join()]),
      );
      assert.deepEqual(fields, [
        ["extra", "only-b", ""],
        ["gone", "only-a", ""],
        ["link", "changed", "link target"],
        ["mode", "changed", "mode"],
        ["size", "changed", "size"],
        ["type", "changed", "type,mode"],
      ]);
    });

    it("shows names and bytes of hostile archives as text, and opens nothing they name", async () => {
      const hostile = async (name: string, text: string): Promise<void> => {
        const tar = pack();
        const bytes = buffer(tar);
        tar.entry({ name: "../../etc/\x1b[31mred" }, text);
        tar.entry({ name: "link", type: "symlink", linkname: `/proc/self/${text}` });
        tar.entry({ name: "link/below" }, text);
        tar.finalize();
        writeFileSync(shop.at(name), await bytes);
        chmodSync(shop.at(name), 0o644);
      };
      await hostile("one-hostile.tar", "one\x1b[2J");
      await hostile("two-hostile.tar", "two\x1b[2J");
      const { stdout, code } = await shop.run(["diff", "./one-hostile.tar", "./two-hostile.tar"]);
      assert.equal(code, 1);
      assert.ok(!stdout.includes("\x1b"), stdout);
      assert.match(stdout, /link target: \/proc\/self\/one/);
      assert.match(stdout, /\/link\/below\n/);
    });

    it("ends with 2 for what cannot be compared, and writes to a file", async () => {
      for (const args of [
        ["one"],
        ["one", "./nothing"],
        ["one", "ftp://x"],
        ["one", "two", "--format", "xml"],
      ]) {
        const { code, stderr } = await shop.run(["diff", ...args]);
        assert.equal(code, 2, stderr);
        assert.match(stderr, /ERROR|error/);
      }
      const { stdout, code } = await shop.run(["diff", "-o", "report.txt", "one", "two"]);
      assert.deepEqual([stdout, code], ["", 1]);
      assert.match(readFileSync(shop.at("report.txt"), "utf8"), /date-text/);
    });
  });

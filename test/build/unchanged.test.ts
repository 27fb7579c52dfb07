// Steps that ran again with unchanged output, except for times: later steps are cached.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { utimesSync } from "node:fs";
import { join } from "node:path";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const DOCKERFILE = `
FROM base AS made
RUN --mount=type=bind,source=src,target=/src mkdir /out && grep -v "^#" /src/program > /out/program \\
 && ln /out/program /out/link && rm -f /bin/wget && chown 1000:1000 /out/link && chmod 4755 /out/program
RUN echo stands on it && (cat /out/program && ls -ln /out) > /lines
FROM base
ADD archive.tar.gz /unpacked
RUN echo after the archive && ls /unpacked > /list
COPY --from=made /out /out
`;

for (const account of accounts()) {
  describe(`a step that makes the same again, as ${account.name}`, () => {
    let shop: Workshop;
    let context: string;
    before(async () => {
      shop = await openWorkshop(account);
      context = shop.context("app", {
        Dockerfile: DOCKERFILE,
        "src/program": "# one\ncode\n",
      });
      pack("-1");
      await shop.ok(["build", "-t", "app", context]);
    });
    after(() => shop[Symbol.dispose]());

    /** An archive whose own bytes depend on the time it was packed. */
    const pack = (level: string): void => {
      const dir = shop.context("archive", { "deep/file": "file\n" });
      utimesSync(join(dir, "deep/file"), 1, Number(level.slice(1)));
      execFileSync("tar", ["-C", dir, "-I", `gzip ${level}`, "-cf", join(context, "archive.tar.gz"), "."]);
      shop.context("app", {});
    };
    const build = async (...flags: string[]) =>
      (await shop.ok(["build", "-t", "app", "--progress=plain", "--explain", ...flags, context])).stderr;
    const idOf = async (): Promise<string> =>
      (await shop.ok(["inspect", "--format", "{{.Id}}", "app"])).stdout;

    it("is told, and the RUN after it is cached", async () => {
      const before = await idOf();
      shop.context("app", { "src/program": "# another comment\ncode\n" });
      const stderr = await build();
      assert.doesNotMatch(stderr, /^#\d+ [\d.]+ stands on it/m);
      assert.match(stderr, /Why 1 step ran \(\d+ cached\)/);
      assert.match(stderr, /file src\/program: content changed\n\s+output unchanged: /);
      assert.equal(await idOf(), before);
      assert.doesNotMatch(await build(), /Why/, "its new name is known from now on");
      const { stdout } = await shop.ok(["explain", "--format", "json"]);
      assert.deepEqual((JSON.parse(stdout) as { steps: unknown[] }).steps, []);
    });

    it("is no other one when the file has other words, another mode or another owner", async () => {
      for (const [from, to] of [
        ["code\n", "codes\n"],
        ["chmod 4755", "chmod 0755"],
        ["chown 1000:1000", "chown 1000:1001"],
      ] as const) {
        const files = { Dockerfile: DOCKERFILE, "src/program": "# third\ncode\n" };
        const changed = Object.fromEntries(
          Object.entries(files).map(([name, text]) => [name, text.replace(from, to)]),
        );
        shop.context("app", changed);
        const stderr = await build();
        assert.match(stderr, /^#\d+ [\d.]+ stands on it/m, to);
        assert.doesNotMatch(stderr, /output unchanged/, to);
        shop.context("app", files);
        await build();
      }
    });

    it("may be an ADD of an archive that was packed anew", async () => {
      pack("-9");
      const stderr = await build();
      assert.match(
        stderr,
        /ADD archive.tar.gz \/unpacked\n\s+file archive.tar.gz: content changed\n\s+output unchanged: /,
      );
      assert.doesNotMatch(stderr, /^#\d+ [\d.]+ after the archive/m);
    });

    it("runs with --no-cache and gives the image of before", async () => {
      const before = await idOf();
      const stderr = await build("--no-cache");
      assert.match(stderr, /^#\d+ [\d.]+ stands on it/m);
      assert.equal(stderr.match(/output unchanged: /g)?.length, 5, stderr);
      assert.equal(await idOf(), before);
    });
  });
}

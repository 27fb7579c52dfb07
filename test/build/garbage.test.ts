// du, prune and the storage limit with real builds: what is removed, what is kept, and that concurrent builds are not affected.

import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

interface Row {
  readonly ID: string;
  readonly Type: string;
  readonly Reclaimable: boolean;
  readonly InUse: boolean;
  readonly Shared: boolean;
  readonly SizeBytes: number;
  readonly LastUsedAt: string;
  readonly Description: string;
}

/** A step that makes a file of so many bytes. */
const big = (name: string, bytes: number): string =>
  `FROM base\nRUN dd if=/dev/urandom of=/${name} bs=${bytes} count=1 2> /dev/null\n`;
const MB = 1e6;

const everybody = accounts();
for (const account of everybody) {
  describe(`the store's space as ${account.name}`, () => {
    let shop: Workshop;
    beforeEach(async () => {
      shop = await openWorkshop(account);
    });
    afterEach(() => shop[Symbol.dispose]());

    async function du(...flags: string[]): Promise<Row[]> {
      const { stdout } = await shop.ok(["du", "--format", "json", ...flags]);
      return stdout
        .trim()
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Row);
    }
    const sum = (rows: readonly Row[]): number => rows.reduce((all, row) => all + row.SizeBytes, 0);
    const find = (rows: readonly Row[], words: string): Row => {
      const row = rows.find((one) => one.Description.includes(words) && one.Type === "layer");
      assert.ok(row, `nothing of "${words}" in ${rows.map((one) => one.Description).join("\n")}`);
      return row;
    };

    it("says what is in use, shared, and how large it is", async () => {
      await shop.ok(["build", "-t", "kept", shop.context("kept", { Dockerfile: big("kept", 2 * MB) })]);
      await shop.ok([
        "build",
        "-o",
        "type=cacheonly",
        shop.context("loose", { Dockerfile: `${big("loose", MB)}RUN echo on > /top\n` }),
      ]);
      const rows = await du();
      const [kept, loose, top] = [find(rows, "of=/kept"), find(rows, "of=/loose"), find(rows, "echo on")];
      assert.deepEqual([kept.InUse, kept.Reclaimable], [true, false]);
      assert.deepEqual(
        [loose.InUse, loose.Reclaimable, loose.Shared],
        [false, true, true],
        "two steps stand on it",
      );
      assert.equal(top.Shared, false);
      assert.ok(kept.SizeBytes >= 2 * MB && kept.SizeBytes < 2.2 * MB, `${kept.SizeBytes}`);
      assert.ok(
        Math.abs(Date.parse(kept.LastUsedAt.slice(0, 19).replace(" ", "T").concat("Z")) - Date.now()) <
          60_000,
      );
      const filtered = await du("--filter", "inuse=true", "--filter", "type=regular");
      assert.ok(filtered.every((row) => row.InUse && row.Type === "layer") && filtered.length >= 2);
    });

    it("adds up what is closed to everybody but a user of the image", async () => {
      const closed = (dir: string): string =>
        `mkdir -m 700 ${dir}/closed && dd if=/dev/zero of=${dir}/closed/file bs=${2 * MB} count=1 && chown -R 1000:1000 ${dir}/closed`;
      const dockerfile = [
        "FROM base",
        `RUN ${closed("")}`,
        `RUN --mount=type=cache,target=/cache,id=mine ${closed("/cache")}`,
        "RUN rm /closed/file",
        "",
      ].join("\n");
      await shop.ok(["build", "-o", "type=cacheonly", shop.context("closed", { Dockerfile: dockerfile })]);
      const rows = await du();
      const layer = find(rows, "of=/closed/file");
      const mount = rows.find((row) => row.Type === "cache-mount");
      for (const row of [layer, mount]) {
        assert.ok(
          row !== undefined && row.SizeBytes >= 2 * MB && row.SizeBytes < 2.2 * MB,
          `${row?.SizeBytes}`,
        );
      }
      const mounts = JSON.parse((await shop.ok(["cache-mounts", "ls", "--format", "json"])).stdout) as Row;
      assert.equal(mounts.SizeBytes, mount?.SizeBytes);
      // A limit that is met once one of the two is gone: prune sees what du shows.
      await shop.ok(["prune", "--force", "--keep-storage", String(sum(rows) - MB)]);
      const left = await du();
      assert.ok(sum(left) <= sum(rows) - MB && sum(left) > 2 * MB, `${sum(left)} of ${sum(rows)}`);
      assert.equal(
        (await shop.ok(["prune", "--force", "--keep-storage", String(sum(left))])).stdout.includes("ID"),
        false,
      );
    });

    it("prune takes what no image needs, off the disk; the image still runs, and the rest is built again", async () => {
      await shop.ok(["build", "-t", "kept", shop.context("kept", { Dockerfile: big("kept", MB) })]);
      const loose = shop.context("loose", { Dockerfile: big("loose", MB) });
      await shop.ok(["build", "-o", "type=cacheonly", loose]);
      const id = find(await du(), "of=/loose").ID;
      const { stdout } = await shop.ok(["prune", "--force", "--no-trunc"]);
      assert.match(stdout, new RegExp(id));
      assert.equal(existsSync(join(shop.root, "layers", id)), false);
      assert.deepEqual(readdirSync(join(shop.root, "active")), [], "the files are gone, too");
      await shop.ok(["run", "kept", "test", "-s", "/kept"]);
      const again = await shop.ok(["build", "--progress=plain", "-o", "type=cacheonly", loose]);
      assert.doesNotMatch(again.stderr, /CACHED/);
    });

    // What flags mean does not depend on who says them.
    if (account === everybody[0]) {
      it("prune keeps to its filters: id, type, until, inuse; and stops at --keep-storage", async () => {
        for (const name of ["a", "b", "c"])
          await shop.ok(["build", "-o", "type=cacheonly", shop.context(name, { Dockerfile: big(name, MB) })]);
        const before = await du();
        const prune = async (...flags: string[]): Promise<Row[]> => {
          await shop.ok(["prune", "--force", ...flags]);
          return (await du()).filter((row) => row.Type === "layer");
        };
        const layers = before.filter((row) => row.Type === "layer").length;
        assert.equal((await prune("--filter", "until=24h")).length, layers);
        assert.equal((await prune("--filter", "type=exec.cachemount")).length, layers);
        assert.equal((await prune("--filter", "inuse=true")).length, layers);
        const { ID } = find(before, "of=/b");
        const left = await prune("--filter", `id=${ID}`);
        assert.deepEqual([left.length, left.some((row) => row.ID === ID)], [layers - 1, false]);
        const total = sum(await du());
        const kept = await prune("--keep-storage", String(total - MB / 2));
        assert.equal(kept.length, layers - 2, "one was enough");
        assert.ok(
          kept.some((row) => row.Description.includes("of=/c")),
          "the oldest went",
        );
      });

      it("refuses a limit that is none", async () => {
        const { code, stderr } = await shop.run([
          "build",
          "--max-storage",
          "lots",
          shop.context("x", { Dockerfile: "FROM base\n" }),
        ]);
        assert.equal(code, 1);
        assert.match(stderr, /invalid --max-storage: "lots"/);
      });
    }

    it("a ceiling is kept after each build, least recently used first, and never an image", async () => {
      const ceiling = 12 * MB;
      const build = (name: string, ...flags: string[]) =>
        shop.ok([
          "build",
          "--max-storage",
          String(ceiling),
          ...flags,
          shop.context(name, { Dockerfile: big(name, 2 * MB) }),
        ]);
      await build("image", "-t", "image");
      for (const name of ["a", "b", "c", "d", "e", "f"]) {
        await build(name, "-o", "type=cacheonly");
        assert.ok(sum(await du()) <= ceiling, `${sum(await du())} after ${name}`);
      }
      const rows = await du();
      for (const name of ["image", "f"]) find(rows, `of=/${name}`);
      assert.equal(
        rows.some((row) => row.Description.includes("of=/a")),
        false,
      );
      await shop.ok(["run", "image", "test", "-s", "/image"]);
    });

    it("builds that run beside prune never lose anything", async function () {
      this.timeout(120_000);
      let over = false;
      const pruning = (async () => {
        let times = 0;
        for (; !over; times += 1) await shop.ok(["prune", "--all", "--force"]);
        return times;
      })();
      try {
        await Promise.all(
          ["x", "y"].map(async (lane) => {
            for (let round = 0; round < 4; round += 1) {
              const name = `${lane}${round}`;
              const dockerfile = `FROM base AS a\nRUN echo ${name} > /file\nRUN sleep 0.1; cat /file > /copy\nFROM base\nCOPY --from=a /copy /copy\nRUN cat /copy > /last\n`;
              await shop.ok(["build", "-t", name, shop.context(name, { Dockerfile: dockerfile })]);
              assert.equal((await shop.ok(["run", name, "cat", "/last"])).stdout, `${name}\n`);
            }
          }),
        );
      } finally {
        over = true;
      }
      assert.ok((await pruning) > 3);
      assert.equal((await shop.run(["fsck"])).code, 0);
    });
  });
}

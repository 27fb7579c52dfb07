// Output directories may contain links created by others: nothing is written, changed or removed through them.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { needs } from "../support/needs.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`links in the destination of an output, as ${account.name}`, function () {
    this.timeout(120_000);
    let shop: Workshop;
    let app: string;
    let outside: string;
    before(async () => {
      shop = await openWorkshop(account);
      app = shop.context("app", {
        Dockerfile: "FROM base\nCOPY dir /dir\nCOPY --chmod=0777 file /file\n",
        "dir/below/file": "from the image",
        file: "from the image",
      });
    });
    beforeEach(() => {
      rmSync(shop.at("outside"), { recursive: true, force: true });
      outside = shop.context("outside", { file: "of the host\n", "sha256/keep": "of the host\n" });
    });
    after(() => shop[Symbol.dispose]());

    /** Names, modes, owners and bytes of what is outside. */
    const look = (): string =>
      execFileSync("sh", ["-c", "find . -printf '%p %M %U %G %s %T@\\n' | sort; cat file sha256/keep"], {
        cwd: outside,
        encoding: "utf8",
      });

    async function unharmed(args: readonly string[]): Promise<{ code: number | null; stderr: string }> {
      const before = look();
      const outcome = await shop.run(["build", ...args, app]);
      assert.equal(look(), before, `${args.join(" ")}\n${outcome.stderr}`);
      return outcome;
    }

    /** A fresh directory of the account with one link in it. */
    function linked(name: string, target: string): string {
      const dest = shop.at("dest");
      rmSync(dest, { recursive: true, force: true });
      mkdirSync(dirname(join(dest, name)), { recursive: true });
      symlinkSync(target, join(dest, name));
      if (account.uid !== process.getuid?.())
        execFileSync("chown", ["-R", "-h", `${account.uid}:${account.gid}`, dest]);
      return dest;
    }

    for (const [what, output] of [
      ["an OCI layout", (dest: string) => ["-o", `type=oci,tar=false,dest=${dest}`]],
      ["a docker layout", (dest: string) => ["-o", `type=docker,tar=false,dest=${dest}`]],
      ["a local cache", (dest: string) => ["--cache-to", `type=local,mode=max,dest=${dest}`]],
    ] as const) {
      it(`${what}: directories that are links are refused, files that are links are replaced`, async () => {
        for (const name of ["blobs", "blobs/sha256"]) {
          const dest = linked(name, name === "blobs" ? outside : join(outside, "sha256"));
          const { code, stderr } = await unharmed(output(dest));
          assert.equal(code, 1, stderr);
          assert.match(stderr, /blobs\/sha256: is a link or a file, but must be a directory/);
        }
        for (const name of ["oci-layout", "manifest.json", "ingest", "index.json.lock"]) {
          const dest = linked(name, join(outside, "file"));
          const { code, stderr } = await unharmed(output(dest));
          assert.equal(code, 0, stderr);
          assert.equal(lstatSync(join(dest, "oci-layout")).isFile(), true);
        }
        const dest = linked("index.json", join(outside, "file"));
        const { code, stderr } = await unharmed(output(dest));
        assert.equal(code, 1);
        assert.match(stderr, /index\.json in it is a link/);
      });

      it(`${what}: blobs that are links are written anew, also when they lead to nothing`, async () => {
        const first = shop.at("first");
        rmSync(first, { recursive: true, force: true });
        assert.equal((await unharmed(output(first))).code, 0);
        for (const target of [join(outside, "file"), join(outside, "nothing"), outside]) {
          const dest = linked("unused", target);
          const blobs = join(dest, "blobs", "sha256");
          mkdirSync(blobs, { recursive: true });
          for (const name of readdirSync(join(first, "blobs", "sha256")))
            symlinkSync(target, join(blobs, name));
          if (account.uid !== process.getuid?.())
            execFileSync("chown", ["-R", "-h", `${account.uid}:${account.gid}`, dest]);
          const { code, stderr } = await unharmed(output(dest));
          assert.equal(code, 0, stderr);
          assert.equal(existsSync(join(outside, "nothing")), false);
          assert.ok(!readdirSync(dest).some((name) => name.endsWith(".part")));
          if (what === "an OCI layout") execFileSync(needs("skopeo"), ["inspect", `oci:${dest}`]);
        }
      });
    }

    it("files of the image replace links, and directories do not lead through them", async () => {
      for (const name of ["file", "dir/below/file"]) {
        const dest = linked(name, join(outside, "file"));
        const { code, stderr } = await unharmed(["-o", `type=local,dest=${dest}`]);
        assert.equal(code, 0, stderr);
        assert.equal(lstatSync(join(dest, name)).isFile(), true);
        assert.equal(readFileSync(join(dest, name), "utf8"), "from the image");
      }
      for (const name of ["dir", "dir/below"]) {
        const dest = linked(name, outside);
        const { code, stderr } = await unharmed(["-o", `type=local,dest=${dest}`]);
        assert.equal(code, 1);
        assert.match(stderr, /in the output directory is not a directory/);
      }
    });

    it("--metadata-file and --iidfile replace a link, as buildx does", async () => {
      for (const flag of ["--metadata-file", "--iidfile"]) {
        for (const target of [join(outside, "file"), join(outside, "nothing")]) {
          const dest = linked("result", target);
          const { code, stderr } = await unharmed([flag, join(dest, "result")]);
          assert.equal(code, 0, stderr);
          assert.equal(lstatSync(join(dest, "result")).isFile(), true);
          assert.equal(existsSync(join(outside, "nothing")), false);
        }
      }
      assert.equal((await unharmed(["--metadata-file", "/dev/null"])).code, 0);
      assert.ok(lstatSync("/dev/null").isCharacterDevice());
    });
  });
}

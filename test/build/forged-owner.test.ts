// Owners in images are those given to the builder, never those a step writes into attributes of its files.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { lstatSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launcherElf } from "../../worker/launcher/elf.ts";
import { launcherArch } from "../../worker/launcher/install.ts";
import { openProgram } from "../../worker/launcher/program.ts";
import { lgetxattr } from "../../worker/sys/file.ts";
import { isRoot } from "../support/privileges.ts";
import { type Account, accounts, ordinaryUser, self } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const NOTE = "user.tsbuild.owner";
const NO_ID = 4_294_967_295;
/** An id that no range of subordinate ids reaches. */
const FAR = 4_000_000;

/** A context with bin/calls, which sets attributes given as a file, and those files by name. */
function withForgery(
  shop: Workshop,
  name: string,
  files: Readonly<Record<string, string>>,
  forgeries: Readonly<Record<string, readonly (readonly [path: string, name: string, value: string])[]>>,
): string {
  const dir = shop.context(name, files);
  writeFileSync(join(dir, "calls"), launcherElf(launcherArch()), { mode: 0o755 });
  for (const [file, attributes] of Object.entries(forgeries)) {
    const program = openProgram(launcherArch(), 1);
    for (const [path, key, value] of attributes) {
      const bytes = Buffer.from(value);
      program.call("setxattr", [path, key, bytes, bytes.length, 0]);
    }
    program.call("exit_group", [0]);
    writeFileSync(join(dir, file), program.assemble().bytes);
  }
  if (shop.account.uid !== process.getuid?.())
    execFileSync("chown", ["-R", `${shop.account.uid}:${shop.account.gid}`, dir]);
  return dir;
}

/** Path to "mode uid/gid" of what `build` gives, with owners as numbers. */
async function ownersOf(
  shop: Workshop,
  args: readonly string[],
  options: { readonly oneId?: boolean } = {},
): Promise<Map<string, string>> {
  const file = shop.at(`out-${Math.random()}.tar`);
  await shop.ok(["build", "--progress=plain", "-o", `type=tar,dest=${file}`, ...args], options);
  return listed(file);
}

function listed(file: string): Map<string, string> {
  const lines = execFileSync("tar", ["--numeric-owner", "-tvf", file], { encoding: "utf8" })
    .trim()
    .split("\n");
  return new Map(
    lines.map((line) => {
      const [mode = "", owner = "", , , , path = ""] = line.split(/\s+/);
      return [path.replace(/\/$/, ""), `${mode} ${owner}`];
    }),
  );
}

/** Owners in the layers of an image as it leaves. */
async function layersOf(
  shop: Workshop,
  args: readonly string[],
  options: { readonly oneId?: boolean } = {},
): Promise<Map<string, string>> {
  const dir = mkdtempSync(join(tmpdir(), "layers-"));
  const file = shop.at(`image-${Math.random()}.tar`);
  await shop.ok(["build", "-o", `type=oci,dest=${file}`, ...args], options);
  execFileSync("tar", ["-xf", file, "-C", dir]);
  const found = new Map<string, string>();
  const blobs = join(dir, "blobs", "sha256");
  for (const name of readdirSync(blobs)) {
    try {
      for (const [path, look] of listed(join(blobs, name))) found.set(path, look);
    } catch {
      // a document
    }
  }
  execFileSync("rm", ["-rf", dir]);
  return found;
}

for (const account of accounts()) {
  describe(`owners a step makes up, built as ${account.name}`, function () {
    this.timeout(120_000);
    let shop: Workshop;
    let context: string;
    before(async () => {
      shop = await openWorkshop(account);
      context = withForgery(
        shop,
        "forged",
        {
          Dockerfile: `
FROM base AS forge
COPY calls forge /tmp/
USER app
RUN cd /home/app && for f in su far none huge; do cp /bin/busybox $f; chmod 4755 $f; done && mkdir d && /tmp/calls < /tmp/forge
FROM base AS taken
COPY --from=forge /home/app /taken
RUN ls -ln /taken/su > /seen
FROM forge AS again
USER root
RUN echo >> /home/app/su && chmod 4755 /home/app/su && mv /home/app/far /home/app/moved
`,
        },
        {
          forge: [
            ["/home/app/su", NOTE, "0:0"],
            ["/home/app/far", NOTE, `1 ${FAR}:${FAR} ${"0".repeat(32)}`],
            ["/home/app/none", NOTE, `${NO_ID}:${NO_ID}`],
            ["/home/app/huge", NOTE, "99999999999999999999:0"],
            ["/home/app/d", NOTE, "0:0"],
            ["/home/app/su", "user.tsbuild.other", "x"],
          ],
        },
      );
    });
    after(() => shop[Symbol.dispose]());

    it("are not in the image, nor in what later steps make of the files", async () => {
      const whole = await ownersOf(shop, ["--target=again", context]);
      for (const name of ["su", "none", "huge", "moved"])
        assert.equal(whole.get(`home/app/${name}`), "-rwsr-xr-x 1000/1000", name);
      assert.equal(whole.get("home/app/d"), "drwxr-xr-x 1000/1000");
      const layers = await layersOf(shop, ["--target=forge", context]);
      assert.equal(layers.get("home/app/su"), "-rwsr-xr-x 1000/1000");
      assert.equal(layers.get("home/app/d"), "drwxr-xr-x 1000/1000");
    });

    it("are not in what another stage copies", async () => {
      const whole = await ownersOf(shop, ["--target=taken", context]);
      assert.equal(whole.get("taken/su"), "-rwsr-xr-x 1000/1000");
      assert.equal(whole.get("taken/d"), "drwxr-xr-x 1000/1000");
      assert.equal(whole.get("taken/far"), "-rwsr-xr-x 1000/1000");
    });

    it("are not the owners of files on the host", async () => {
      const dest = shop.at("local");
      await shop.ok(["build", "--target=forge", "-o", `type=local,dest=${dest}`, context]);
      const stat = lstatSync(join(dest, "home/app/su"));
      if (account.uid === 0) assert.deepEqual([stat.uid, stat.gid, stat.mode & 0o7777], [1000, 1000, 0o4755]);
      else assert.deepEqual([stat.uid, stat.gid, stat.mode & 0o7777], [account.uid, account.gid, 0o755]);
    });
  });

  if (account.uid !== 0)
    describe("an owner beyond the range of subordinate ids", function () {
      this.timeout(120_000);
      let shop: Workshop;
      before(async () => {
        shop = await openWorkshop(account);
      });
      after(() => shop[Symbol.dispose]());

      it("is in the image, and its set-id file is nobody's in a step, least of all root's", async () => {
        const context = shop.context("far", {
          Dockerfile: `
FROM base AS one
COPY --chown=${FAR}:33 --chmod=4755 su /su
COPY --chown=33:${FAR} d /d
RUN stat -c %u:%g:%a /su /d > /seen && echo >> /d/f && mv /su /moved
FROM base
COPY --from=one /moved /taken
RUN cat /taken > /dev/null
`,
          su: "su",
          "d/f": "f",
        });
        const whole = await ownersOf(shop, ["--target=one", context]);
        assert.equal(whole.get("moved"), `-rwsr-xr-x ${FAR}/33`);
        assert.equal(whole.get("d"), `drwxr-xr-x 33/${FAR}`);
        assert.equal(whole.get("d/f"), `-rw-r--r-- 33/${FAR}`);
        const dest = shop.at("far-local");
        await shop.ok(["build", "--target=one", "-o", `type=local,dest=${dest}`, context]);
        const seen = execFileSync("cat", [join(dest, "seen")], { encoding: "utf8" })
          .trim()
          .split("\n");
        assert.match(seen[0] ?? "", /^(?!0:)\d+:33:4755$/);
        assert.match(seen[1] ?? "", /^33:(?!0:)\d+:755$/);
        assert.equal((await ownersOf(shop, [context])).get("taken"), `-rwsr-xr-x ${FAR}/33`);
      });
    });
}

for (const account of accounts()) {
  describe(`marks of layers a step makes up, built as ${account.name}`, function () {
    this.timeout(120_000);
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
    });
    after(() => shop[Symbol.dispose]());

    it("delete nothing and hide nothing where no layer is below the step", async () => {
      const context = withForgery(
        shop,
        "marks",
        {
          Dockerfile: `
FROM base AS tools
COPY calls forge /tools/
FROM scratch
RUN --mount=from=tools,target=/t ["/t/bin/busybox", "sh", "-c", "/t/bin/busybox mkdir /dir && /t/bin/busybox touch /plain && { /t/bin/busybox mknod /dir/passwd c 0 0 || /t/bin/busybox touch /refused; } && /t/tools/calls < /t/tools/forge || /t/bin/busybox touch /refused-too"]
`,
        },
        {
          forge: [
            ["/dir", "user.overlay.opaque", "y"],
            ["/plain", "user.overlay.metacopy", ""],
          ],
        },
      );
      const layers = await layersOf(shop, [context]);
      assert.ok(layers.has("refused"), [...layers.keys()].join());
      assert.deepEqual(
        [...layers.keys()].filter((path) => path.includes(".wh.")),
        [],
      );
    });

    it("delete nothing when they come with a context", async () => {
      const context = shop.context("devices", {
        Dockerfile: "FROM base\nCOPY --link etc /etc/\n",
        "etc/kept": "",
      });
      execFileSync("mknod", [join(context, "etc", "passwd"), "c", "0", "0"]);
      const { code, stderr } = await shop.run(["build", context]);
      assert.equal(code, 1);
      assert.match(stderr, /\/etc\/passwd is a character device 0, 0/);
    });
  });
}

describe("the last id of an ordinary user, which stands for owners beyond his", () => {
  it("is no user or group of a step", async () => {
    using shop = await openWorkshop(ordinaryUser());
    const ranges = readFileSync("/etc/subuid", "utf8").split("\n");
    const mine = ranges.filter((line) => line.startsWith(`${shop.account.name}:`));
    const last = mine.reduce((sum, line) => sum + Number(line.split(":")[2]), 0);
    for (const user of [`${last}`, `0:${last}`]) {
      const context = shop.context("last", { Dockerfile: `FROM base\nUSER ${user}\nRUN true\n` });
      const { code, stderr } = await shop.run(["build", context]);
      assert.equal(code, 1);
      assert.match(stderr, new RegExp(`cannot run with the id ${last}`));
    }
  });
});

/** Who has one id: an ordinary user without subordinate ids, and root of a namespace that has no more. */
const lonely: readonly Account[] = isRoot ? [self(), ordinaryUser()] : [self()];
for (const account of lonely) {
  describe(`owners where ${account.name} has one id`, function () {
    this.timeout(180_000);
    const alone = { oneId: true };
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
    });
    after(() => shop[Symbol.dispose]());

    const HONEST = {
      Dockerfile: `
FROM base AS one
COPY --chown=33:44 f /f
COPY --chown=33:44 --chmod=4755 f /su
COPY --chown=33:44 d /d
RUN echo more >> /f && mv /f /g && touch /home/app/x && chmod 700 /home/app
RUN mv /d /e && echo >> /e/sub/f && chmod 4711 /su
FROM base AS two
COPY --from=one /g /su /
COPY --from=one /e /e2
`,
      f: "f",
      "d/sub/f": "f",
    };

    it("are those of the base, of COPY --chown, and of files that later steps change or rename", async () => {
      const context = shop.context("honest", HONEST);
      const whole = await ownersOf(shop, ["--target=one", context], alone);
      assert.equal(whole.get("g"), "-rw-r--r-- 33/44");
      assert.equal(whole.get("su"), "-rws--x--x 33/44");
      assert.equal(whole.get("home/app"), "drwx------ 1000/1000");
      assert.equal(whole.get("home/app/x"), "-rw-r--r-- 0/0");
      const copied = await ownersOf(shop, ["--target=two", context], alone);
      assert.equal(copied.get("g"), "-rw-r--r-- 33/44");
      assert.equal(copied.get("su"), "-rws--x--x 33/44");
      const layers = await layersOf(shop, ["--target=one", context], alone);
      assert.equal(layers.get("g"), "-rw-r--r-- 33/44");
      assert.match(layers.get("home/app") ?? "", / 1000\/1000$/);
    });

    it("are not what a step makes up, and nothing of that stays in its layer", async () => {
      const context = withForgery(
        shop,
        "made-up",
        {
          Dockerfile: `
FROM base
COPY calls forge /tmp/
RUN touch /mu-a /mu-b /mu-c /mu-e && mkdir /mu-d && /tmp/calls < /tmp/forge
RUN echo >> /mu-a
`,
        },
        {
          forge: [
            ["/mu-a", NOTE, "1234:1234"],
            ["/mu-b", NOTE, `1 1234:1234 ${"0".repeat(32)}`],
            ["/mu-c", NOTE, `${NO_ID}:${NO_ID}`],
            ["/mu-e", "user.tsbuild.other", "x"],
            ["/mu-d", NOTE, "1234:1234"],
          ],
        },
      );
      const whole = await ownersOf(shop, [context], alone);
      for (const name of ["mu-a", "mu-b", "mu-c", "mu-e"])
        assert.equal(whole.get(name), "-rw-r--r-- 0/0", name);
      assert.equal(whole.get("mu-d"), "drwxr-xr-x 0/0");
      const left = execFileSync(
        "find",
        [join(shop.root, "layers"), "-maxdepth", "3", "-path", "*/r-*/fs/mu-*"],
        { encoding: "utf8" },
      )
        .trim()
        .split("\n");
      assert.ok(left.length >= 5);
      for (const path of left) {
        assert.equal(lgetxattr(path, NOTE), null, path);
        assert.equal(lgetxattr(path, "user.tsbuild.other"), null, path);
      }
    });

    if (account.uid !== 0)
      it("are given for real once the user has more ids: no set-id file becomes root's", async () => {
        const context = shop.context("later", {
          ...HONEST,
          Dockerfile: `${HONEST.Dockerfile}FROM one\nRUN stat -c %u:%g:%a /su /g /home/app > /seen\n`,
        });
        await shop.ok(["build", "-t", "kept", "--target=one", context], alone);
        // An image of before is still there, and what it holds has its owners.
        const shown = await shop.ok(["run", "kept", "stat", "-c", "%u:%g:%a", "/su", "/g", "/home/app"]);
        assert.deepEqual(shown.stdout.trim().split("\n"), ["33:44:4711", "33:44:644", "1000:1000:700"]);
        const whole = await ownersOf(shop, [context]);
        assert.equal(whole.get("su"), "-rws--x--x 33/44");
        assert.equal(whole.get("g"), "-rw-r--r-- 33/44");
        const checked = await shop.ok(["fsck"]);
        assert.match(checked.stdout, /no problems found/);
        // And back again.
        const back = await ownersOf(shop, [context], alone);
        assert.equal(back.get("su"), "-rws--x--x 33/44");
      });
  });
}

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  close,
  copyFileRange,
  fstat,
  lgetxattr,
  llistxattr,
  lsetxattr,
  mkdirat,
  openat,
  openat2,
  readdir,
  readlinkat,
  renameat2,
  statx,
  statxOrNull,
  symlinkat,
  unlinkat,
  utimensat,
} from "../../worker/sys/file.ts";
import { SysError, umask } from "../../worker/sys/libc.ts";
import { overlayMount } from "../../worker/sys/mount.ts";
import { describeAsRoot } from "../support/privileges.ts";
import { AT, DT, O, RENAME, RESOLVE, S } from "../../worker/sys/constants.ts";

describe("system calls", () => {
  let dir: string;
  let fd: number;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-sys-"));
    fd = openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY);
  });
  afterEach(() => {
    close(fd);
    rmSync(dir, { recursive: true, force: true });
  });

  it("fail with the call, the name of the error and the path", () => {
    assert.throws(
      () => openat(fd, "none", O.RDONLY),
      (error) =>
        error instanceof SysError &&
        error.call === "openat" &&
        error.errno === "ENOENT" &&
        error.path === "none",
    );
  });

  it("refuse a path with a NUL in it, which the kernel would cut short", () => {
    writeFileSync(join(dir, "a"), "");
    assert.throws(() => statx(fd, "a\0b"), { errno: "EINVAL" });
    assert.throws(() => statx(fd, "a/".repeat(3000)), { errno: "ENAMETOOLONG" });
  });

  it("resolve absolute links and .. inside the root with openat2", () => {
    mkdirSync(join(dir, "root/etc"), { recursive: true });
    writeFileSync(join(dir, "root/etc/hosts"), "inside");
    writeFileSync(join(dir, "secret"), "outside");
    symlinkSync("/etc/hosts", join(dir, "root/absolute"));
    symlinkSync("../../../secret", join(dir, "root/up"));
    const root = openat(fd, "root", O.PATH | O.DIRECTORY);
    const inside = openat2(root, "absolute", { flags: O.RDONLY, resolve: RESOLVE.IN_ROOT });
    assert.equal(readFileSync(inside, "utf8"), "inside");
    close(inside);
    assert.throws(() => openat2(root, "up", { flags: O.RDONLY, resolve: RESOLVE.IN_ROOT }), {
      errno: "ENOENT",
    });
    close(root);
  });

  it("read times to the nanosecond, also before 1970", () => {
    writeFileSync(join(dir, "f"), "12345");
    utimensat(fd, "f", null, -1_500_000_001n, 0);
    const stat = statx(fd, "f", AT.SYMLINK_NOFOLLOW);
    assert.equal(stat.mtimeNs, -1_500_000_001n);
    assert.equal(stat.size, 5);
    assert.equal(stat.mode & S.IFMT, S.IFREG);
    assert.equal(stat.ino, statSync(join(dir, "f"), { bigint: true }).ino);
  });

  it("set the times of a descriptor", () => {
    utimensat(fd, null, 1_000_000_001n, 2_000_000_000_000_000_003n);
    assert.equal(fstat(fd).mtimeNs, 2_000_000_000_000_000_003n);
  });

  it("list names that are not UTF-8, with their types, each time from the start", () => {
    const name = Buffer.from([0x66, 0xff, 0xfe]);
    mkdirat(fd, name, 0o755);
    symlinkat("x", fd, "link");
    for (let times = 0; times < 2; times++) {
      const entries = readdir(fd).sort((a, b) => a.type - b.type);
      assert.deepEqual(
        entries.map(({ name: found, type }) => [found.toString("hex"), type]),
        [
          ["66fffe", DT.DIR],
          [Buffer.from("link").toString("hex"), DT.LNK],
        ],
      );
    }
    assert.equal(readlinkat(fd, "link").toString(), "x");
  });

  it("list more entries than fit one buffer", () => {
    for (let index = 0; index < 400; index++) writeFileSync(join(dir, `${index}-${"n".repeat(200)}`), "");
    assert.equal(new Set(readdir(fd).map(({ name }) => name.toString())).size, 400);
  });

  it("exchange two names, and refuse to replace one", () => {
    writeFileSync(join(dir, "a"), "a");
    writeFileSync(join(dir, "b"), "b");
    renameat2(fd, "a", fd, "b", RENAME.EXCHANGE);
    assert.equal(readFileSync(join(dir, "a"), "utf8"), "b");
    assert.throws(() => renameat2(fd, "a", fd, "b", RENAME.NOREPLACE), { errno: "EEXIST" });
    unlinkat(fd, "b");
    assert.equal(statxOrNull(fd, "b"), null);
  });

  it("keep attributes, and answer null for one that is not there", () => {
    const path = join(dir, "f");
    writeFileSync(path, "");
    lsetxattr(path, "user.k", Buffer.from("v"));
    assert.deepEqual(llistxattr(path), ["user.k"]);
    assert.equal(lgetxattr(path, "user.k")?.toString(), "v");
    assert.equal(lgetxattr(path, "user.none"), null);
  });

  it("copy ranges between files", () => {
    writeFileSync(join(dir, "from"), "some bytes");
    const from = openat(fd, "from", O.RDONLY);
    const to = openat(fd, "to", O.WRONLY | O.CREAT | O.EXCL, 0o600);
    assert.equal(copyFileRange(from, to, 100), 10);
    assert.equal(copyFileRange(from, to, 100), 0);
    close(from);
    close(to);
    assert.equal(readFileSync(join(dir, "to"), "utf8"), "some bytes");
  });

  it("change the umask and give the former one back", () => {
    const before = umask(0o077);
    try {
      mkdirat(fd, "private", 0o777);
      assert.equal(statx(fd, "private").mode & 0o777, 0o700);
    } finally {
      assert.equal(umask(before), 0o077);
    }
  });

  describeAsRoot("overlayMount", () => {
    const layer = (name: string, files: Record<string, string>): string => {
      const path = join(dir, name);
      mkdirSync(path);
      for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
      return path;
    };
    const read = (mount: number, name: string): string =>
      readFileSync(`/proc/self/fd/${mount}/${name}`, "utf8");

    it("shows the newest layer on top and writes to the upper only", () => {
      const old = layer("old", { f: "1", g: "1" });
      const young = layer("young", { f: "2" });
      const upper = layer("upper", {});
      const mount = overlayMount({ lowers: [old, young], upper, work: layer("work", {}), userxattr: true });
      assert.equal(read(mount, "f"), "2");
      unlinkat(mount, "g");
      mkdirat(mount, "made", 0o755);
      close(mount);
      assert.ok(statSync(join(upper, "g")).isCharacterDevice(), "a whiteout");
      assert.ok(statSync(join(upper, "made")).isDirectory());
      assert.equal(readFileSync(join(old, "g"), "utf8"), "1");
    });

    it("is read-only without an upper, with one layer and with many", () => {
      const lowers = Array.from({ length: 40 }, (_, index) => layer(`${index}`, { f: `${index}` }));
      for (const stack of [lowers.slice(0, 1), lowers]) {
        const mount = overlayMount({ lowers: stack, userxattr: true });
        assert.equal(read(mount, "f"), `${stack.length - 1}`);
        assert.throws(() => mkdirat(mount, "no", 0o755), { errno: "EROFS" });
        close(mount);
      }
    });

    it("is the upper itself when there is no layer below", () => {
      const upper = layer("upper", {});
      const mount = overlayMount({ lowers: [], upper, userxattr: true });
      mkdirat(mount, "made", 0o755);
      close(mount);
      assert.ok(statSync(join(upper, "made")).isDirectory());
    });

    it("works in directories whose paths are longer than a mount option may be", () => {
      const deep = `${"d".repeat(200)}/${"e".repeat(200)}`;
      mkdirSync(join(dir, deep), { recursive: true });
      const lowers = ["a", "b"].map((name) => layer(`${deep}/${name}`, { [name]: name }));
      const mount = overlayMount({
        lowers,
        upper: layer(`${deep}/u`, {}),
        work: layer(`${deep}/w`, {}),
        userxattr: true,
      });
      assert.equal(read(mount, "a") + read(mount, "b"), "ab");
      close(mount);
    });

    it("fails on a full disk, where the kernel would mount it read-only", () => {
      const disk = join(dir, "disk");
      mkdirSync(disk);
      execFileSync("mount", ["-t", "tmpfs", "-o", "nr_inodes=20", "none", disk]);
      try {
        const [lower, upper, work] = ["l", "u", "w"].map((name) => layer(`disk/${name}`, {})) as [
          string,
          string,
          string,
        ];
        const spec = { lowers: [lower], upper, work, userxattr: true };
        const ballast = join(disk, "ballast");
        mkdirSync(ballast);
        for (let left = statfsSync(disk).ffree; left > 0; left--) writeFileSync(join(ballast, `${left}`), "");
        assert.throws(() => overlayMount(spec), { errno: "ENOSPC" });
        rmSync(ballast, { recursive: true });
        close(overlayMount(spec));
      } finally {
        execFileSync("umount", [disk]);
      }
    });

    it("leaves no mount behind", () => {
      const before = readFileSync("/proc/self/mountinfo", "utf8");
      close(overlayMount({ lowers: [layer("a", {}), layer("b", {})], userxattr: true }));
      assert.equal(readFileSync("/proc/self/mountinfo", "utf8"), before);
    });
  });
});

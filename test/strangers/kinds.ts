// Hostile trees of different kinds, created in a directory of this machine, or by a step. They get the paths outside the tree
// that must not be touched or shown.

import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { close, fsetxattr, lsetxattr, mkdirat, openat } from "../../worker/sys/file.ts";
import { isMachineRoot } from "../support/privileges.ts";
import { AT, O } from "../../worker/sys/constants.ts";

export interface Kind {
  readonly name: string;
  /** Makes the tree in an empty directory. `outside`: absolute path of the sentinel's directory. */
  make(dir: string, outside: string): void;
  /** The same in busybox's shell, in an empty working directory; null: a shell cannot. */
  readonly script: ((outside: string) => string) | null;
  /** Two names of the tree that a process exchanges as fast as it can while the tree is read. */
  readonly swaps?: readonly [string, string];
  /** Reading it takes longer than anybody waits: it must end when it is told to. */
  readonly endless?: true;
}

/** Levels of the deep tree, and files of the large one: more with TSBUILD_STRANGERS=long. */
export const LONG: boolean = process.env.TSBUILD_STRANGERS === "long";
const LEVELS = LONG ? 10_000 : 300;
const LEVEL_NAME = "d".repeat(100);
const FILES = LONG ? 200_000 : 1_000;
const SPARSE_BYTES = 1 << 40;

/** "a\nb", an escape sequence, all of what layers and shells give a meaning, 255 bytes, bytes that are no UTF-8. */
const NAMES: readonly (string | Buffer)[] = [
  "line\nbreak",
  "\u001b]0;title\u0007",
  "-rf",
  "--help",
  "...",
  ". .",
  "back\\slash",
  "*",
  "?[a]",
  "$(reboot)",
  ".wh.file",
  ".wh..wh..opq",
  "n".repeat(255),
  Buffer.from([0xff, 0xfe, 0x80]),
  Buffer.from("\u202egnp.exe"),
];

export const KINDS: readonly Kind[] = [
  {
    name: "links",
    make(dir, outside) {
      symlinkSync(outside, join(dir, "absolute"));
      symlinkSync(join(outside, "secret"), join(dir, "file"));
      symlinkSync(`${"../".repeat(20)}${outside.slice(1)}`, join(dir, "relative"));
      symlinkSync(`/proc/self/root${outside}`, join(dir, "magic"));
      mkdirSync(join(dir, "below"));
      symlinkSync(join(outside, "sub"), join(dir, "below", "sub"));
      symlinkSync("loop", join(dir, "loop"));
    },
    script: (outside) =>
      `ln -s ${outside} absolute; ln -s ${outside}/secret file; ln -s ${"../".repeat(20)}${outside.slice(1)} relative; ` +
      `ln -s /proc/self/root${outside} magic; mkdir below; ln -s ${outside}/sub below/sub; ln -s loop loop`,
  },
  {
    name: "swaps",
    make(dir, outside) {
      mkdirSync(join(dir, "place", "sub"), { recursive: true });
      writeFileSync(join(dir, "place", "secret"), "inside\n");
      writeFileSync(join(dir, "place", "sub", "secret"), "inside\n");
      symlinkSync(outside, join(dir, "other"));
    },
    script: (outside) =>
      `mkdir -p place/sub; echo inside > place/secret; echo inside > place/sub/secret; ln -s ${outside} other`,
    swaps: ["place", "other"],
  },
  {
    name: "fifos",
    make(dir) {
      for (const name of ["fifo", "secret", "index.json"]) execFileSync("mkfifo", [join(dir, name)]);
      execFileSync("python3", [
        "-c",
        "import os, socket, sys; os.chdir(sys.argv[1]); socket.socket(socket.AF_UNIX).bind('socket')",
        dir,
      ]);
    },
    script: () => "mkfifo fifo secret index.json",
  },
  {
    name: "devices",
    make(dir) {
      const nodes = { zero: "c 1 5", mem: "c 1 1", disk: "b 8 0", whiteout: "c 0 0" };
      if (!isMachineRoot) mkdirSync(join(dir, "no-devices-without-root"));
      else
        for (const [name, node] of Object.entries(nodes))
          execFileSync("mknod", [join(dir, name), ...node.split(" ")]);
    },
    script: () => "mknod zero c 1 5 || true; mknod disk b 8 0 || true; mknod whiteout c 0 0 || true",
  },
  {
    name: "deep",
    make(dir) {
      let fd = openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY);
      for (let level = 0; level < LEVELS; level++) {
        mkdirat(fd, LEVEL_NAME, 0o755);
        const next = openat(fd, LEVEL_NAME, O.RDONLY | O.DIRECTORY);
        close(fd);
        fd = next;
      }
      close(fd);
    },
    // -P: without it the shell names the whole path, which soon is longer than PATH_MAX.
    script: () =>
      `i=0; while [ $i -lt ${LEVELS} ]; do mkdir ${LEVEL_NAME} && cd -P ${LEVEL_NAME} || exit 1; i=$((i + 1)); done 2> /dev/null`,
  },
  {
    name: "sparse",
    make(dir) {
      writeFileSync(join(dir, "sparse"), "");
      truncateSync(join(dir, "sparse"), SPARSE_BYTES);
    },
    script: () => `truncate -s ${SPARSE_BYTES} sparse`,
    endless: true,
  },
  {
    name: "attributes",
    make(dir) {
      const forged: Readonly<Record<string, string>> = {
        "user.tsbuild.owner": "0:0",
        "user.overlay.opaque": "y",
        "user.overlay.redirect": "/etc",
        "user.overlay.metacopy": "",
        "user.overlay.tsbuild.owner": "0:0",
        ...(isMachineRoot ? { "trusted.overlay.opaque": "y", "trusted.overlay.redirect": "/etc" } : {}),
      };
      mkdirSync(join(dir, "etc"));
      writeFileSync(join(dir, "program"), "#!/bin/sh\n", { mode: 0o755 });
      const set = (path: string): void => {
        for (const [name, value] of Object.entries(forged)) lsetxattr(path, name, Buffer.from(value));
      };
      set(join(dir, "etc"));
      set(join(dir, "program"));
      const fd = openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY);
      for (const [name, value] of Object.entries(forged)) fsetxattr(fd, name, Buffer.from(value));
      close(fd);
    },
    script: null, // busybox sets no attributes; test/build/forged-owner.test.ts does
  },
  {
    name: "names",
    make(dir) {
      for (const name of NAMES) {
        const path = Buffer.concat([Buffer.from(`${dir}/`), Buffer.from(name as string)]);
        writeFileSync(path, "name\n");
      }
      mkdirSync(join(dir, ".wh.directory"));
    },
    script: () =>
      `touch "$(printf 'line\\nbreak')" "$(printf '\\033]0;title\\007')" ./-rf ... 'back\\slash' '*' .wh.file .wh..wh..opq || true`,
  },
  {
    name: "many",
    make(dir) {
      for (let file = 0; file < FILES; file++) writeFileSync(join(dir, `file-${file}`), "");
    },
    script: () => `seq 1 ${FILES} | sed 's/^/file-/' | xargs touch`,
  },
];

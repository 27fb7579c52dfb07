// Creates a small root file system from this machine's own files: a shell, the core tools and node, each with the libraries
// that ldd(1) lists. It replaces what would otherwise be "FROM node:20-slim", so that no registry is needed.
//
//   node make-rootfs.mjs DIRECTORY

import { execFileSync } from "node:child_process";
import {
  accessSync, chmodSync, constants, cpSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";

const TOOLS = `sh cat chmod chown cp cut date dirname basename echo env expr false find grep head id ln ls mkdir mktemp mv
  printf pwd rm rmdir sed sleep sort stat tail tar tee test touch tr true uname uniq wc xargs whoami`.split(/\s+/);

const rootfs = process.argv[2];
if (rootfs === undefined) throw new Error("usage: node make-rootfs.mjs DIRECTORY");
rmSync(rootfs, { recursive: true, force: true });
for (const dir of ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr/bin", "usr/local/bin", "var"]) {
  mkdirSync(join(rootfs, dir), { recursive: true });
}
chmodSync(join(rootfs, "tmp"), 0o1777);

const libraries = new Set();
for (const tool of TOOLS) {
  const file = find(tool);
  if (file !== null) install(file, `/bin/${tool}`);
}
install(process.execPath, "/usr/local/bin/node");
for (const file of libraries) place(file, file);
// Node as some distributions build it keeps a part of its own JavaScript in files beside it.
for (const value of Object.values(process.config.variables)) {
  if (typeof value === "string" && value.startsWith("/usr/share/nodejs/") && existsSync(value)) place(value, value);
}
symlinkSync("/bin/env", join(rootfs, "usr/bin/env"));
writeFileSync(join(rootfs, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
writeFileSync(join(rootfs, "etc/group"), "root:x:0:\nnogroup:x:65534:\n");
if (existsSync("/etc/os-release")) place("/etc/os-release", "/etc/os-release");

/** A program at `to`, and its libraries noted. */
function install(file, to) {
  place(file, to);
  for (const library of librariesOf(file)) libraries.add(library);
}

function place(file, to) {
  const target = join(rootfs, to);
  mkdirSync(dirname(target), { recursive: true });
  cpSync(realpathSync(file), target, { dereference: true });
}

/** Paths as the loader will look for them, the loader itself included. ldd(1) fails for static programs and scripts. */
function librariesOf(file) {
  if (readFileSync(file).subarray(0, 4).toString("latin1") !== "\x7fELF") return [];
  try {
    const text = execFileSync("ldd", [file], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return [...text.matchAll(/(?:=>\s+|^\s+)(\/\S+)\s+\(0x/gm)].map((match) => match[1]);
  } catch {
    return [];
  }
}

function find(tool) {
  for (const dir of ["/bin", "/usr/bin"]) {
    try {
      accessSync(join(dir, tool), constants.X_OK);
      return join(dir, tool);
    } catch {
      // Not in this directory, maybe in the next.
    }
  }
  return null;
}

// Archives built member by member, temporary directories, and listings of what is on disk.

import { execFileSync } from "node:child_process";
import { lstatSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "mocha";
import { type TarMember, TAR_HEADER_MAX_BYTES, writeHeader } from "../../../cache/layers/tar-write.ts";

export interface Member extends Partial<Omit<TarMember, "name" | "linkName" | "size">> {
  readonly name: string | Buffer;
  readonly link?: string;
  readonly content?: string | Buffer;
}

/** A tar of these members; type is "file" unless it says otherwise. */
export function makeTar(members: readonly Member[]): Buffer {
  const parts: Buffer[] = [];
  for (const member of members) {
    const content = Buffer.from(member.content ?? "");
    const header = Buffer.alloc(TAR_HEADER_MAX_BYTES);
    const end = writeHeader(header, 0, {
      type: "file",
      mode: member.type === "dir" ? 0o755 : 0o644,
      uid: 0,
      gid: 0,
      mtimeSeconds: 1_500_000_000,
      devMajor: 0,
      devMinor: 0,
      xattrs: null,
      ...member,
      name: Buffer.from(member.name),
      linkName: member.link === undefined ? null : Buffer.from(member.link),
      size: content.length,
    });
    parts.push(header.subarray(0, end), content, Buffer.alloc((512 - (content.length % 512)) % 512));
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

/** A function that makes directories which are removed after each test. */
export function temporary(): () => string {
  const made: string[] = [];
  afterEach(() => {
    for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
  });
  return () => {
    const dir = mkdtempSync(join(tmpdir(), "tsbuild-layers-"));
    made.push(dir);
    return dir;
  };
}

/** What lies below a directory, as lines "path type mode uid:gid [content or target]", sorted. */
export function listTree(dir: string, below = ""): string[] {
  const lines: string[] = [];
  for (const name of readdirSync(join(dir, below)).sort()) {
    const path = below === "" ? name : `${below}/${name}`;
    const stat = lstatSync(join(dir, path));
    const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
    const owner = `${stat.uid}:${stat.gid}`;
    if (stat.isDirectory()) lines.push(`${path} dir ${mode} ${owner}`, ...listTree(dir, path));
    else if (stat.isSymbolicLink()) lines.push(`${path} -> ${readlinkSync(join(dir, path))}`);
    else if (stat.isFile())
      lines.push(`${path} file ${mode} ${owner} ${readFileSync(join(dir, path), "latin1")}`);
    else if (stat.isFIFO()) lines.push(`${path} fifo ${mode} ${owner}`);
    else if (stat.isCharacterDevice()) lines.push(`${path} char ${stat.rdev}`);
    else lines.push(`${path} other`);
  }
  return lines;
}

/** Output of a program; throws when it fails. */
export function run(command: string, args: readonly string[], input?: Buffer): Buffer {
  return execFileSync(command, args, {
    ...(input !== undefined && { input }),
    maxBuffer: 1 << 28,
    stdio: ["pipe", "pipe", "pipe"],
  });
}

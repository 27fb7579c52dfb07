// [keeper] Owners by name: looked up in the account files of the image, as BuildKit does for --chown.

import { readSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.ts";
import type { ChownOpt, UserOpt } from "../../solver/graph/op.ts";
import { close, fstat, openat2 } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { O, RESOLVE, S } from "../sys/constants.ts";

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export const ROOT: Owner = { uid: 0, gid: 0 };

/** Limit for /etc/passwd and /etc/group, 16 MiB. */
const ACCOUNTS_MAX_BYTES = 16 << 20;

/** Numeric owner of a ChownOpt. `rootOf` gives the descriptor of the tree that resolves a name, null for scratch.
 *
 *  As BuildKit has it: a user given by number has the group of the same number, one given by name its group of
 *  /etc/passwd, and a name nobody has is root. */
export function resolveOwner(owner: ChownOpt | null, rootOf: (input: number) => number | null): Owner | null {
  if (owner === null) return null;
  let { uid, gid } = ROOT;
  if (owner.user?.kind === "id") {
    uid = givenId(owner.user.id);
    gid = uid;
  } else if (owner.user !== null) {
    const [, , foundUid, foundGid] = lookUp(owner.user, "/etc/passwd", rootOf) ?? [];
    uid = parseId(foundUid, owner.user.name);
    gid = parseId(foundGid, owner.user.name);
  }
  if (owner.group?.kind === "id") gid = givenId(owner.group.id);
  else if (owner.group !== null) {
    const found = lookUp(owner.group, "/etc/group", rootOf);
    if (found !== null) gid = parseId(found[2], owner.group.name);
  }
  return { uid, gid };
}

/** -1 would tell chown(2) to leave the owner as it is, which is root (threat model I3). */
function givenId(id: number): number {
  if (id <= 0xffff_fffe) return id;
  throw new BuildError("USER_UNKNOWN", `${id} is not a valid user or group id`);
}

/** Fields of the first line with this name, or null. */
function lookUp(
  who: Extract<UserOpt, { kind: "name" }>,
  file: string,
  rootOf: (input: number) => number | null,
): string[] | null {
  if (who.input === null) {
    throw new BuildError(
      "USER_UNKNOWN",
      `invalid user index: -1: ${JSON.stringify(who.name)} cannot be looked up here`,
      {
        hint: "use numeric ids: the step has no image with an /etc/passwd",
      },
    );
  }
  const root = rootOf(who.input);
  // Without accounts nobody has the name; what cannot be read might have.
  const notRegular = (): never => {
    throw new BuildError("USER_UNKNOWN", `${file} is not a regular file`, {
      hint: `${JSON.stringify(who.name)} cannot be looked up in it: use numeric ids`,
    });
  };
  const bytes = root === null ? null : readInTree(root, file, ACCOUNTS_MAX_BYTES, notRegular);
  if (bytes === null) return null;
  for (const line of bytes.toString("utf8").split("\n")) {
    const fields = line.trim().split(":");
    if (fields[0] === who.name && fields.length > 1) return fields;
  }
  return null;
}

/** A number of an account file. A broken one is refused: it must not turn into root. */
function parseId(text: string | undefined, name: string): number {
  if (text === undefined) return 0;
  const id = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (id <= 0xffff_fffe) return id;
  throw new BuildError(
    "USER_UNKNOWN",
    `the entry of ${JSON.stringify(name)} has no valid id: ${JSON.stringify(text)}`,
  );
}

/** A regular file inside a root, links resolved by the kernel within it; null when there is none. Never blocks. Throws
 *  LIMIT_EXCEEDED when it has more than maxBytes. `notRegular`: what to answer when something else has that name. */
export function readInTree(
  root: number,
  path: string,
  maxBytes: number,
  notRegular: () => null = () => null,
): Buffer | null {
  let fd: number;
  try {
    fd = openat2(root, path, {
      flags: O.RDONLY | O.NONBLOCK,
      resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS,
    });
  } catch (error) {
    if (isSysError(error, "ENOENT", "ENOTDIR", "ELOOP", "ENXIO")) return null;
    throw error;
  }
  try {
    if ((fstat(fd).mode & S.IFMT) !== S.IFREG) return notRegular();
    const chunks: Buffer[] = [];
    let total = 0;
    for (;;) {
      const chunk = Buffer.allocUnsafe(64 * 1024);
      const count = readSync(fd, chunk, 0, chunk.length, null);
      if (count === 0) return Buffer.concat(chunks);
      total += count;
      if (total > maxBytes)
        throw new BuildError("LIMIT_EXCEEDED", `${path} is larger than ${maxBytes} bytes`);
      chunks.push(chunk.subarray(0, count));
    }
  } finally {
    close(fd);
  }
}

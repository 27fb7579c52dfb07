// [keeper] Resolves USER with the /etc/passwd and /etc/group of the root file system, as runc and BuildKit do.

import { close, openat2, fstat } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { readSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.ts";
import { O, RESOLVE, S } from "../sys/constants.ts";

export interface ExecUser {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly home: string;
}

/** passwd and group files are read up to this size (threat model P6). */
const ACCOUNT_FILE_MAX_BYTES = 4 << 20;
const ID_MAX = 4_294_967_294;
/** The largest id that may stand for itself, though the kernel has more: moby/sys/user. */
const NUMBER_MAX = 2_147_483_647;

/** Resolves "user", "uid", "user:group", "uid:gid", "" (root). Throws USER_UNKNOWN. rootFd: root of the file system. */
export function resolveUser(rootFd: number, spec: string): ExecUser {
  const [userPart = "", groupPart, extra] = spec.split(":");
  if (extra !== undefined)
    throw new BuildError("USER_UNKNOWN", `"${spec}" is not a valid user: the format is user[:group]`);
  const passwd = lines(readAccountFile(rootFd, "/etc/passwd")).map((line) => line.split(":"));
  const groups = lines(readAccountFile(rootFd, "/etc/group")).map((line) => line.split(":"));
  const ofId = (id: number): string[] | undefined => passwd.find((fields) => parseId(fields[2] ?? "") === id);
  if (groupPart !== undefined && isPlainId(userPart) && isPlainId(groupPart)) {
    const [uid, gid] = [plainId(userPart), plainId(groupPart)];
    return { uid, gid, groups: [gid], home: ofId(uid)?.[5] ?? "/" };
  }
  // Digits are an id, whoever has them for a name.
  const number = userPart === "" ? 0 : parseNumber(userPart);

  let uid = 0;
  let gid = 0;
  let home = "/";
  let name: string | null = null;
  const entry = number !== null ? ofId(number) : passwd.find((fields) => fields[0] === userPart);
  if (entry !== undefined) {
    uid = idIn("/etc/passwd", entry, 2);
    gid = (entry[3] ?? "") === "" ? 0 : idIn("/etc/passwd", entry, 3);
    home = entry[5] ?? "/"; // an empty one stays empty, as runc has it
    name = entry[0] ?? null;
  } else if (number !== null) {
    uid = number;
  } else {
    throw new BuildError(
      "USER_UNKNOWN",
      `unable to find user ${userPart}: no matching entries in passwd file`,
      {
        hint: `create it in an earlier step, for instance RUN adduser ${userPart}, or use a numeric id`,
      },
    );
  }

  if (groupPart !== undefined && groupPart !== "") {
    const groupNumber = parseNumber(groupPart);
    const group = groupNumber === null ? groups.find((fields) => fields[0] === groupPart) : undefined;
    if (groupNumber !== null) gid = groupNumber;
    else if (group !== undefined) gid = idIn("/etc/group", group, 2);
    else
      throw new BuildError(
        "USER_UNKNOWN",
        `unable to find group ${groupPart}: no matching entries in group file`,
      );
    return { uid, gid, groups: [gid], home };
  }
  const supplementary = groups
    .filter((fields) => name !== null && (fields[3] ?? "").split(",").includes(name))
    .map((fields) => parseId(fields[2] ?? ""))
    .filter((id): id is number => id !== null && id !== gid);
  return { uid, gid, groups: [gid, ...supplementary], home };
}

/** A number of an account file. A broken one is refused: it must not turn into root (threat model I3). */
function idIn(file: string, fields: readonly string[], at: number): number {
  const id = parseId(fields[at] ?? "");
  if (id !== null) return id;
  throw new BuildError(
    "USER_UNKNOWN",
    `the entry of ${JSON.stringify(fields[0])} in ${file} has no valid id: ${JSON.stringify(fields[at] ?? "")}`,
  );
}

/** uid:gid, which BuildKit takes as they stand (executor/oci/user.go): all ids of the kernel. */
function isPlainId(text: string): boolean {
  return text === "root" || /^\d+$/.test(text);
}

function plainId(text: string): number {
  const id = text === "root" ? 0 : Number(text);
  if (id <= ID_MAX) return id;
  throw new BuildError(
    "USER_UNKNOWN",
    `${text} is not a valid user or group id: ids must be in the range 0-${ID_MAX}`,
  );
}

/** A number as moby/sys/user reads it; null: it is a name. */
function parseNumber(text: string): number | null {
  if (!/^[+-]?\d+$/.test(text)) return null;
  const id = Number(text);
  if (id >= 0 && id <= NUMBER_MAX) return id;
  throw new BuildError(
    "USER_UNKNOWN",
    `unable to find ${text}: uids and gids must be in range 0-${NUMBER_MAX}`,
  );
}

function parseId(text: string): number | null {
  if (!/^\d{1,10}$/.test(text)) return null;
  const id = Number(text);
  return id <= ID_MAX ? id : null;
}

function lines(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

/** A regular file in the root, opened without waiting and read up to a limit; "" when it is not there. */
function readAccountFile(rootFd: number, path: string): string {
  let fd: number;
  try {
    fd = openat2(rootFd, path, {
      flags: O.RDONLY | O.NONBLOCK,
      mode: 0,
      resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS,
    });
  } catch (error) {
    if (isSysError(error, "ENOENT", "ENOTDIR", "ELOOP", "EACCES", "ENXIO")) return "";
    throw error;
  }
  try {
    const stat = fstat(fd);
    if ((stat.mode & S.IFMT) !== S.IFREG) return "";
    const buffer = Buffer.alloc(Math.min(Number(stat.size), ACCOUNT_FILE_MAX_BYTES));
    let length = 0;
    while (length < buffer.length) {
      const read = readSync(fd, buffer, length, buffer.length - length, null);
      if (read === 0) break;
      length += read;
    }
    return buffer.toString("utf8", 0, length);
  } finally {
    close(fd);
  }
}

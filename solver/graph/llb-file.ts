// FileOp as a message: pb.FileOp of moby/buildkit solver/pb/ops.proto.

import { BuildError } from "./error.ts";
import type { ChownOpt, CopyAction, FileAction, FileOp, UserOpt } from "./op.ts";
import {
  bytes,
  type Field,
  flag,
  int,
  list,
  long,
  mapped,
  message,
  presentInt,
  type Sparse,
  sub,
  text,
  texts,
  type Value,
} from "./wire.ts";

/** Scratch, not exported, or "keep as it is": the protocol's -1. */
const NONE = -1;
const NO_TIME = -1n;

const USER = message({
  byName: sub(1, message({ name: text(1), input: int(2) })),
  byId: presentInt(2),
});
const OWNER = message({
  user: mapped(1, USER, userToRaw, userFromRaw),
  group: mapped(2, USER, userToRaw, userFromRaw),
});
const owner = (number: number): Field<ChownOpt | null> =>
  mapped(
    number,
    OWNER,
    ({ user, group }: ChownOpt): Sparse<Value<typeof OWNER>> => ({ user, group }),
    (raw) => raw,
  );

const COPY = message({
  src: text(1),
  dest: text(2),
  owner: owner(3),
  mode: int(4),
  followSymlink: flag(5),
  dirCopyContents: flag(6),
  attemptUnpack: flag(7),
  createDestPath: flag(8),
  allowWildcard: flag(9),
  allowEmptyWildcard: flag(10),
  timestamp: long(11),
  includePatterns: texts(12),
  excludePatterns: texts(13),
  alwaysReplaceExistingDestPaths: flag(14),
  modeStr: text(15),
  requiredPaths: texts(16),
});
const MKFILE = message({ path: text(1), mode: int(2), data: bytes(3), owner: owner(4), timestamp: long(5) });
const MKDIR = message({
  path: text(1),
  mode: int(2),
  makeParents: flag(3),
  owner: owner(4),
  timestamp: long(5),
});
const RM = message({ path: text(1), allowNotFound: flag(2), allowWildcard: flag(3) });
const SYMLINK = message({ target: text(1), path: text(2), owner: owner(3), timestamp: long(4) });

const ACTION = message({
  input: int(1),
  secondary: int(2),
  output: int(3),
  copy: sub(4, COPY),
  mkfile: sub(5, MKFILE),
  mkdir: sub(6, MKDIR),
  rm: sub(7, RM),
  symlink: sub(8, SYMLINK),
});
type RawAction = Value<typeof ACTION>;

const FILE = message({ actions: list(2, ACTION) });

/** The file body of pb.Op. */
export const fileField: Field<FileOp | null> = mapped(
  4,
  FILE,
  (op: FileOp): Sparse<Value<typeof FILE>> => ({ actions: op.actions.map(toRaw) }),
  (raw): FileOp => ({ kind: "file", actions: raw.actions.map(fromRaw) }),
);

function toRaw(action: FileAction): Sparse<RawAction> {
  const input = action.base ?? NONE;
  const output = action.output ?? NONE;
  if (action.kind === "rm") {
    const { path, allowNotFound, allowWildcard } = action;
    return { input, secondary: NONE, output, rm: { path, allowNotFound, allowWildcard } };
  }
  // Field by field: a spread with more fields around it is ten times as slow, and a large graph is mostly these.
  const timestamp = action.timestampNs ?? NO_TIME;
  switch (action.kind) {
    case "copy":
      return { input, secondary: action.from ?? NONE, output, copy: copyToRaw(action, timestamp) };
    case "mkfile": {
      const { path, mode, data, owner } = action;
      return { input, secondary: NONE, output, mkfile: { path, mode, data, owner, timestamp } };
    }
    case "mkdir": {
      const { path, mode, makeParents, owner } = action;
      return { input, secondary: NONE, output, mkdir: { path, mode, makeParents, owner, timestamp } };
    }
    case "symlink": {
      const { target, path, owner } = action;
      return { input, secondary: NONE, output, symlink: { target, path, owner, timestamp } };
    }
  }
}

function copyToRaw(action: CopyAction, timestamp: bigint): Sparse<NonNullable<RawAction["copy"]>> {
  return {
    src: action.src,
    dest: action.dest,
    owner: action.owner,
    mode: action.mode ?? NONE,
    followSymlink: action.followSymlink,
    dirCopyContents: action.dirCopyContents,
    attemptUnpack: action.attemptUnpack,
    createDestPath: action.createDestPath,
    allowWildcard: action.allowWildcard,
    allowEmptyWildcard: action.allowEmptyWildcard,
    timestamp,
    includePatterns: action.includePatterns,
    excludePatterns: action.excludePatterns,
    alwaysReplaceExistingDestPaths: action.alwaysReplaceExistingDestPaths,
    modeStr: action.modeStr,
    requiredPaths: action.requiredPaths,
  };
}

function fromRaw(raw: RawAction): FileAction {
  const { copy, mkfile, mkdir, rm, symlink } = raw;
  if ([copy, mkfile, mkdir, rm, symlink].filter((body) => body !== null).length !== 1) {
    throw new BuildError("USAGE", "not a valid LLB op: a file action needs exactly one kind");
  }
  const edges = { base: orNull(raw.input), output: orNull(raw.output) };
  if (rm !== null) return { kind: "rm", ...edges, ...rm };
  if (copy !== null) {
    const { timestamp, mode, ...rest } = copy;
    const timestampNs = timeFromRaw(timestamp);
    return { kind: "copy", ...edges, from: orNull(raw.secondary), ...rest, mode: orNull(mode), timestampNs };
  }
  if (mkfile !== null) {
    const { timestamp, ...rest } = mkfile;
    return { kind: "mkfile", ...edges, ...rest, timestampNs: timeFromRaw(timestamp) };
  }
  if (mkdir !== null) {
    const { timestamp, ...rest } = mkdir;
    return { kind: "mkdir", ...edges, ...rest, timestampNs: timeFromRaw(timestamp) };
  }
  const { timestamp, ...rest } = symlink as NonNullable<typeof symlink>;
  return { kind: "symlink", ...edges, ...rest, timestampNs: timeFromRaw(timestamp) };
}

function userToRaw(user: UserOpt): Sparse<Value<typeof USER>> {
  return user.kind === "id"
    ? { byName: null, byId: user.id }
    : { byName: { name: user.name, input: user.input ?? NONE }, byId: null };
}

function userFromRaw(raw: {
  readonly byName: { readonly name: string; readonly input: number } | null;
  readonly byId: number | null;
}): UserOpt {
  if (raw.byName !== null) return { kind: "name", name: raw.byName.name, input: orNull(raw.byName.input) };
  if (raw.byId !== null) return { kind: "id", id: raw.byId };
  throw new BuildError("USAGE", "not a valid LLB op: an owner with neither name nor id");
}

function orNull(value: number): number | null {
  return value === NONE ? null : value;
}

function timeFromRaw(timestamp: bigint): bigint | null {
  return timestamp === NO_TIME ? null : timestamp;
}

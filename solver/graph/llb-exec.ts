// ExecOp as a message: pb.ExecOp of moby/buildkit solver/pb/ops.proto.

import { BuildError } from "./error.ts";
import type { ExecMount, ExecOp } from "./op.ts";
import {
  type Field,
  flag,
  int,
  ints,
  list,
  mapped,
  message,
  type Sparse,
  sub,
  text,
  texts,
  type Value,
} from "./wire.ts";

/** No input, no output: the protocol's -1. */
const NONE = -1;
const NETWORK = ["sandbox", "host", "none"] as const; // 3, a network through a recording proxy, is not offered
const SECURITY = ["sandbox", "insecure"] as const;
const SHARING = ["shared", "private", "locked"] as const;
const CONTENT_CACHE = [null, "on", "off"] as const;
const MOUNT_TYPE = { bind: 0, secret: 1, ssh: 2, cache: 3, tmpfs: 4 } as const;

const PROXY_ENV = message({
  httpProxy: text(1),
  httpsProxy: text(2),
  ftpProxy: text(3),
  noProxy: text(4),
  allProxy: text(5),
});

const META = message({
  args: texts(1),
  env: texts(2),
  cwd: text(3),
  user: text(4),
  proxyEnv: sub(5, PROXY_ENV),
  extraHosts: list(6, message({ host: text(1), ip: text(2) })),
  hostname: text(7),
  ulimits: list(9, message({ name: text(1), soft: int(2), hard: int(3) })),
  cgroupParent: text(10),
  removeMountStubsRecursive: flag(11), // a hint: mount points of ours never stay behind
  validExitCodes: ints(12),
});

const FILE_MOUNT = message({ id: text(1), uid: int(2), gid: int(3), mode: int(4), optional: flag(5) });

const MOUNT = message({
  input: int(1),
  selector: text(2),
  dest: text(3),
  output: int(4),
  readonly: flag(5),
  type: int(6),
  tmpfs: sub(19, message({ size: int(1) })),
  cache: sub(20, message({ id: text(1), sharing: int(2) })),
  secret: sub(21, FILE_MOUNT),
  ssh: sub(22, FILE_MOUNT),
  resultId: text(23), // only for gateway containers
  contentCache: int(24),
});
type RawMount = Value<typeof MOUNT>;

const EXEC = message({
  meta: sub(1, META),
  mounts: list(2, MOUNT),
  network: int(3),
  security: int(4),
  secretEnv: list(5, message({ id: text(1), name: text(2), optional: flag(3) })),
  devices: list(6, message({ name: text(1), optional: flag(2) })),
});
type RawExec = Value<typeof EXEC>;

/** The exec body of pb.Op. */
export const execField: Field<ExecOp | null> = mapped(2, EXEC, toRaw, fromRaw);

function toRaw(op: ExecOp): Sparse<RawExec> {
  return {
    meta: {
      args: op.args,
      env: op.env,
      cwd: op.cwd,
      user: op.user,
      proxyEnv: op.proxyEnv,
      extraHosts: op.extraHosts,
      hostname: op.hostname,
      ulimits: op.ulimits,
      cgroupParent: op.cgroupParent,
      validExitCodes: op.validExitCodes,
    },
    mounts: op.mounts.map(mountToRaw),
    network: NETWORK.indexOf(op.network),
    security: SECURITY.indexOf(op.security),
    secretEnv: op.secretEnv,
    devices: op.devices,
  };
}

function mountToRaw(mount: ExecMount): Sparse<RawMount> {
  const type = MOUNT_TYPE[mount.kind];
  switch (mount.kind) {
    case "bind": {
      const { selector, readonly, target: dest } = mount;
      return {
        ...{ input: mount.input ?? NONE, selector, dest, output: mount.output ?? NONE, readonly, type },
        contentCache: CONTENT_CACHE.indexOf(mount.contentCache ?? null),
      };
    }
    case "cache": {
      const { selector, readonly, target: dest } = mount;
      const cache = { id: mount.id, sharing: SHARING.indexOf(mount.sharing) };
      return { input: mount.input ?? NONE, selector, dest, output: NONE, readonly, type, cache };
    }
    case "tmpfs":
      return { input: NONE, dest: mount.target, output: NONE, type, tmpfs: { size: mount.sizeBytes ?? 0 } };
    case "secret":
    case "ssh": {
      const { id, uid, gid, mode, optional } = mount;
      // Go clients leave `output` at 0 for these two.
      return { input: NONE, dest: mount.target, type, [mount.kind]: { id, uid, gid, mode, optional } };
    }
  }
}

function fromRaw(raw: RawExec): ExecOp {
  const { meta } = raw;
  if (meta === null) throw new BuildError("USAGE", "not a valid LLB op: a command without arguments");
  return {
    kind: "exec",
    args: meta.args,
    env: meta.env,
    cwd: meta.cwd,
    user: meta.user,
    proxyEnv: meta.proxyEnv,
    extraHosts: meta.extraHosts,
    hostname: meta.hostname,
    ulimits: meta.ulimits,
    cgroupParent: meta.cgroupParent,
    validExitCodes: meta.validExitCodes,
    mounts: raw.mounts.map(mountFromRaw),
    network: oneOf(NETWORK, raw.network, "network mode"),
    security: oneOf(SECURITY, raw.security, "security mode"),
    secretEnv: raw.secretEnv,
    devices: raw.devices,
  };
}

function mountFromRaw(raw: RawMount): ExecMount {
  const { selector, dest: target, readonly } = raw;
  const input = raw.input === NONE ? null : raw.input;
  switch (raw.type) {
    case MOUNT_TYPE.bind: {
      const contentCache = oneOf(CONTENT_CACHE, raw.contentCache, "content cache mode");
      return {
        kind: "bind",
        input,
        selector,
        target,
        readonly,
        output: raw.output === NONE ? null : raw.output,
        ...(contentCache === null ? {} : { contentCache }),
      };
    }
    case MOUNT_TYPE.cache: {
      const { id, sharing } = raw.cache ?? { id: "", sharing: 0 };
      return {
        kind: "cache",
        id,
        input,
        selector,
        target,
        readonly,
        sharing: oneOf(SHARING, sharing, "cache sharing mode"),
      };
    }
    case MOUNT_TYPE.tmpfs:
      return {
        kind: "tmpfs",
        target,
        sizeBytes: raw.tmpfs === null || raw.tmpfs.size === 0 ? null : raw.tmpfs.size,
      };
    case MOUNT_TYPE.secret:
    case MOUNT_TYPE.ssh: {
      const kind = raw.type === MOUNT_TYPE.secret ? "secret" : "ssh";
      const options = raw[kind];
      if (options === null)
        throw new BuildError("USAGE", `not a valid LLB op: a ${kind} mount without options`);
      return { kind, target, ...options };
    }
    default:
      throw new BuildError("USAGE", `not a valid LLB op: mount type ${raw.type}`);
  }
}

function oneOf<T>(names: readonly T[], value: number, what: string): T {
  const name = names[value];
  if (name === undefined)
    throw new BuildError("USAGE", `not a valid LLB op: invalid ${what} ${value}: it is not supported`);
  return name;
}

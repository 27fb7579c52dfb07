// Steps as JSON in the form of BuildKit's provenance: encoding/json of the structs in solver/pb (json.go, ops.proto), and the list of steps
// of solver/llbsolver/provenance/buildconfig.go. Empty fields are left out, as `omitempty` does.

import { type Definition, type Input, inputsFirst, type Vertex } from "../../solver/graph/definition.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { redactUrl } from "../../solver/graph/error.ts";
import { encodeHead } from "../../solver/graph/llb.ts";
import type {
  ChownOpt,
  ExecMount,
  ExecOp,
  FileAction,
  Op,
  Platform,
  UserOpt,
} from "../../solver/graph/op.ts";
import { orderedFields, sortedMap } from "../go-json.ts";

type Json = Record<string, unknown>;

export interface BuildConfig {
  /** Inputs before their users; the last one has no op, and names the result. */
  readonly steps: readonly Json[];
  readonly digestMapping: Readonly<Record<string, string>>;
  /** Vertex → number of its step. */
  readonly numbers: ReadonlyMap<Digest, number>;
}

/** Attributes that differ from build to build and say nothing of the source. */
const OF_ONE_BUILD = new Set(["local.session", "local.unique"]);
const NETWORK = { sandbox: 0, host: 1, none: 2 } as const;
const SECURITY = { sandbox: 0, insecure: 1 } as const;
const MOUNT_TYPE = { bind: 0, secret: 1, ssh: 2, cache: 3, tmpfs: 4 } as const;
const SHARING = { shared: 0, private: 1, locked: 2 } as const;
const CONTENT_CACHE = { on: 1, off: 2 } as const;

/** All steps that a result needs, depth first as BuildKit numbers them. */
export function buildConfig(definition: Definition, root: Input): BuildConfig {
  const missing = (digest: Digest): Error => new Error(`definition: no vertex ${digest}`);
  const order = [...inputsFirst(definition.vertices, root, missing).values()];
  const numbers = new Map(order.map(({ digest }, index) => [digest, index]));
  const inputOf = ({ vertex, output }: Input): string => `step${numbers.get(vertex)}:${output}`;
  const steps = order.map((vertex, index) =>
    orderedFields(
      { id: `step${index}`, op: opJson(vertex), inputs: vertex.inputs.map(inputOf) },
      STEP_FIELDS,
    ),
  );
  numbers.set(digestOf(encodeHead(root)), order.length);
  steps.push({ id: `step${order.length}`, op: { Op: {} }, inputs: [inputOf(root)] });
  return {
    steps,
    numbers,
    digestMapping: sortedMap(
      Object.fromEntries([...numbers].map(([digest, number]) => [digest as string, `step${number}`])),
    ) as Record<string, string>,
  };
}
const STEP_FIELDS = ["id", "op", "inputs"];

function opJson({ op, platform }: Vertex): Json {
  return {
    Op: bodyOf(op),
    ...(platform === null ? {} : { platform: platformJson(platform) }),
    constraints: {}, // clients always set it
  };
}

function platformJson({ architecture, os, variant, osVersion }: Platform): Json {
  return some({ Architecture: architecture, OS: os, Variant: variant, OSVersion: osVersion });
}

function bodyOf(op: Op): Json {
  switch (op.kind) {
    case "source": {
      const attrs = Object.entries(op.attrs)
        .filter(([name]) => !OF_ONE_BUILD.has(name))
        .map(([name, value]) => [name, redactUrl(value)]);
      return {
        source: some({ identifier: redactUrl(op.identifier), attrs: sortedMap(Object.fromEntries(attrs)) }),
      };
    }
    case "exec":
      return { exec: execJson(op) };
    case "file":
      return { file: some({ actions: op.actions.map(actionJson) }) };
    case "merge":
      return { merge: some({ inputs: op.inputs.map((input) => some({ input: input ?? -1 })) }) };
    case "diff":
      return { diff: { lower: some({ input: op.lower ?? -1 }), upper: some({ input: op.upper ?? -1 }) } };
    case "build":
      return {
        build: some({
          builder: op.builder,
          inputs: sortedMap(
            Object.fromEntries(Object.entries(op.inputs).map(([name, input]) => [name, some({ input })])),
          ),
          attrs: sortedMap(op.attrs),
        }),
      };
    case "passthrough":
      return { passthrough: some({ id: op.id, outputs: op.outputs }) };
  }
}

function execJson(op: ExecOp): Json {
  return some({
    // Without the proxies, which may have passwords and change nothing in the result (threat model S2).
    meta: some({
      args: op.args,
      env: op.env,
      cwd: op.cwd,
      user: op.user,
      extraHosts: op.extraHosts.map(({ host, ip }) => some({ Host: host, IP: ip })),
      hostname: op.hostname,
      ulimit: op.ulimits.map(({ name, soft, hard }) => some({ Name: name, Soft: soft, Hard: hard })),
      cgroupParent: op.cgroupParent,
      validExitCodes: op.validExitCodes,
    }),
    mounts: op.mounts.map(mountJson),
    network: NETWORK[op.network],
    security: SECURITY[op.security],
    secretenv: op.secretEnv.map(({ id, name, optional }) => some({ ID: id, name, optional })),
    cdiDevices: op.devices.map(({ name, optional }) => some({ name, optional })),
  });
}

function mountJson(mount: ExecMount): Json {
  switch (mount.kind) {
    case "bind":
      return some({
        ...{ input: mount.input ?? -1, selector: mount.selector, dest: mount.target },
        ...{ output: mount.output ?? -1, readonly: mount.readonly },
        contentCache: mount.contentCache === undefined ? 0 : CONTENT_CACHE[mount.contentCache],
      });
    case "cache":
      return some({
        ...{ input: mount.input ?? -1, selector: mount.selector, dest: mount.target, output: -1 },
        ...{ readonly: mount.readonly, mountType: MOUNT_TYPE.cache },
        cacheOpt: some({ ID: mount.id, sharing: SHARING[mount.sharing] }),
      });
    case "tmpfs":
      return some({
        ...{ input: -1, dest: mount.target, output: -1, mountType: MOUNT_TYPE.tmpfs },
        TmpfsOpt: mount.sizeBytes === null ? undefined : some({ size: mount.sizeBytes }),
      });
    case "secret":
    case "ssh": {
      const { id, uid, gid, mode, optional } = mount;
      return some({
        ...{ input: -1, dest: mount.target, mountType: MOUNT_TYPE[mount.kind] }, // clients leave `output` at 0
        [mount.kind === "secret" ? "secretOpt" : "SSHOpt"]: some({ ID: id, uid, gid, mode, optional }),
      });
    }
  }
}

function actionJson(action: FileAction): Json {
  return {
    input: action.base ?? -1,
    secondaryInput: action.kind === "copy" ? (action.from ?? -1) : -1,
    output: action.output ?? -1,
    Action: { [action.kind]: actionBody(action) },
  };
}

function actionBody(action: FileAction): Json {
  // Whole seconds are exact as floating-point numbers; BuildKit's own JSON goes through those as well.
  const timestamp = (ns: bigint | null): number => (ns === null ? -1 : Number(ns));
  switch (action.kind) {
    case "copy":
      return some({
        src: action.src,
        dest: action.dest,
        owner: ownerJson(action.owner),
        mode: action.mode ?? -1,
        followSymlink: action.followSymlink,
        dirCopyContents: action.dirCopyContents,
        attemptUnpackDockerCompatibility: action.attemptUnpack,
        createDestPath: action.createDestPath,
        allowWildcard: action.allowWildcard,
        allowEmptyWildcard: action.allowEmptyWildcard,
        timestamp: timestamp(action.timestampNs),
        include_patterns: action.includePatterns,
        exclude_patterns: action.excludePatterns,
        alwaysReplaceExistingDestPaths: action.alwaysReplaceExistingDestPaths,
        modeStr: action.modeStr,
        required_paths: action.requiredPaths,
      });
    case "mkfile":
      return some({
        ...{ path: action.path, mode: action.mode, data: Buffer.from(action.data).toString("base64") },
        ...{ owner: ownerJson(action.owner), timestamp: timestamp(action.timestampNs) },
      });
    case "mkdir":
      return some({
        ...{ path: action.path, mode: action.mode, makeParents: action.makeParents },
        ...{ owner: ownerJson(action.owner), timestamp: timestamp(action.timestampNs) },
      });
    case "rm": {
      const { path, allowNotFound, allowWildcard } = action;
      return some({ path, allowNotFound, allowWildcard });
    }
    case "symlink":
      return some({
        ...{ oldpath: action.target, newpath: action.path },
        ...{ owner: ownerJson(action.owner), timestamp: timestamp(action.timestampNs) },
      });
  }
}

function ownerJson(owner: ChownOpt | null): Json | undefined {
  if (owner === null) return undefined;
  return some({ user: userJson(owner.user), group: userJson(owner.group) });
}

function userJson(user: UserOpt | null): Json | undefined {
  if (user === null) return undefined;
  if (user.kind === "id") return { User: some({ byId: user.id }) };
  return { User: { byName: some({ name: user.name, input: user.input ?? -1 }) } };
}

/** The fields that are not empty, in their order. A message that is there stays, empty or not. */
function some(fields: Json): Json {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => {
      if (value === undefined || value === null || value === "" || value === false || value === 0)
        return false;
      return !Array.isArray(value) || value.length > 0;
    }),
  );
}

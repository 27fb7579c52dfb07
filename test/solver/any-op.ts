// Ops of all kinds with any values in their fields: what may be written as LLB.

import fc from "fast-check";
import type { CopyAction, ExecOp, Op, Platform, UserOpt } from "../../solver/graph/op.ts";

/** A command with nothing set. */
export const EXEC: ExecOp = {
  kind: "exec",
  args: ["/bin/sh", "-c", "true"],
  env: [],
  cwd: "/",
  user: "",
  proxyEnv: null,
  extraHosts: [],
  hostname: "",
  ulimits: [],
  cgroupParent: "",
  validExitCodes: [],
  mounts: [],
  network: "sandbox",
  security: "sandbox",
  secretEnv: [],
  devices: [],
};

const texts = fc.array(fc.string({ unit: "grapheme" }), { maxLength: 3 });
/** A platform, or none. */
export const anyPlatform: fc.Arbitrary<Platform | null> = fc.option(
  fc
    .record({ os: fc.constant("linux"), architecture: fc.constantFrom("amd64", "arm") })
    .chain((platform) =>
      fc.constantFrom<Platform>(platform, { ...platform, variant: "v7" }, { ...platform, osVersion: "10.0" }),
    ),
);
const index = fc.option(fc.nat(2));
const anyUser: fc.Arbitrary<UserOpt | null> = fc.oneof(
  fc.constant(null),
  fc.record({ kind: fc.constant("id" as const), id: fc.nat(2 ** 31) }),
  fc.record({ kind: fc.constant("name" as const), name: fc.string(), input: index }),
);
const owner = fc.option(fc.record({ user: anyUser, group: anyUser }));
const time = fc.option(fc.bigInt({ min: 0n, max: 2n ** 62n }));
const edges = { base: index, output: index };
const copy: fc.Arbitrary<
  { kind: "copy"; from: number | null; base: number | null; output: number | null } & CopyAction
> = fc.record({
  kind: fc.constant("copy" as const),
  ...edges,
  from: index,
  src: fc.string(),
  dest: fc.string(),
  owner,
  mode: fc.option(fc.nat(0o7777)),
  modeStr: fc.string(),
  followSymlink: fc.boolean(),
  dirCopyContents: fc.boolean(),
  attemptUnpack: fc.boolean(),
  createDestPath: fc.boolean(),
  allowWildcard: fc.boolean(),
  allowEmptyWildcard: fc.boolean(),
  timestampNs: time,
  includePatterns: texts,
  excludePatterns: texts,
  alwaysReplaceExistingDestPaths: fc.boolean(),
  requiredPaths: texts,
});
const anyAction = fc.oneof(
  copy,
  fc.record({
    kind: fc.constant("mkfile" as const),
    ...edges,
    path: fc.string(),
    mode: fc.nat(0o7777),
    data: fc.uint8Array(),
    owner,
    timestampNs: time,
  }),
  fc.record({
    kind: fc.constant("mkdir" as const),
    ...edges,
    path: fc.string(),
    mode: fc.nat(0o7777),
    makeParents: fc.boolean(),
    owner,
    timestampNs: time,
  }),
  fc.record({
    kind: fc.constant("symlink" as const),
    ...edges,
    target: fc.string(),
    path: fc.string(),
    owner,
    timestampNs: time,
  }),
  fc.record({
    kind: fc.constant("rm" as const),
    ...edges,
    path: fc.string(),
    allowNotFound: fc.boolean(),
    allowWildcard: fc.boolean(),
  }),
);
const target = fc.string();
const bind = {
  kind: fc.constant("bind" as const),
  input: index,
  selector: fc.string(),
  target,
  readonly: fc.boolean(),
  output: index,
};
const anyMount = fc.oneof(
  fc.record(bind),
  fc.record({ ...bind, contentCache: fc.constantFrom("on" as const, "off" as const) }),
  fc.record({
    kind: fc.constant("cache" as const),
    id: fc.string(),
    input: index,
    selector: fc.string(),
    target,
    readonly: fc.boolean(),
    sharing: fc.constantFrom("shared" as const, "private" as const, "locked" as const),
  }),
  fc.record({
    kind: fc.constant("tmpfs" as const),
    target,
    sizeBytes: fc.option(fc.integer({ min: 1, max: 2 ** 40 })),
  }),
  fc.record({
    kind: fc.constantFrom("secret" as const, "ssh" as const),
    id: fc.string(),
    target,
    uid: fc.nat(),
    gid: fc.nat(),
    mode: fc.nat(0o7777),
    optional: fc.boolean(),
  }),
);
const attrs = fc.dictionary(fc.stringMatching(/^[a-z.]{1,12}$/), fc.string(), { maxKeys: 4 });

/** An op of any kind, with indices below 3. */
export const anyOp: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ kind: fc.constant("source" as const), identifier: fc.string(), attrs }),
  fc.record({
    kind: fc.constant("build" as const),
    builder: fc.integer({ min: -1, max: 2 }),
    inputs: fc.dictionary(fc.stringMatching(/^[a-z.]{1,12}$/), fc.nat(2), { maxKeys: 3 }),
    attrs,
  }),
  fc.record({
    kind: fc.constant("passthrough" as const),
    id: fc.string(),
    outputs: fc.array(fc.nat(2), { maxLength: 4 }),
  }),
  fc.record({
    kind: fc.constant("file" as const),
    actions: fc.array(anyAction, { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ kind: fc.constant("diff" as const), lower: index, upper: index }),
  fc.record({ kind: fc.constant("merge" as const), inputs: fc.array(index, { maxLength: 4 }) }),
  fc
    .record({
      args: texts,
      env: texts,
      cwd: fc.string(),
      user: fc.string(),
      proxyEnv: fc.option(
        fc.record({
          httpProxy: fc.string(),
          httpsProxy: fc.string(),
          ftpProxy: fc.string(),
          noProxy: fc.string(),
          allProxy: fc.string(),
        }),
      ),
      validExitCodes: fc.array(fc.nat(255), { maxLength: 3 }),
      ulimits: fc.array(fc.record({ name: fc.string(), soft: fc.integer(), hard: fc.integer() }), {
        maxLength: 2,
      }),
      mounts: fc.array(anyMount, { maxLength: 4 }),
      network: fc.constantFrom("sandbox" as const, "host" as const, "none" as const),
      security: fc.constantFrom("sandbox" as const, "insecure" as const),
      secretEnv: fc.array(fc.record({ id: fc.string(), name: fc.string(), optional: fc.boolean() }), {
        maxLength: 2,
      }),
      devices: fc.array(fc.record({ name: fc.string(), optional: fc.boolean() }), { maxLength: 2 }),
    })
    .map((part): ExecOp => ({ ...EXEC, ...part })),
);

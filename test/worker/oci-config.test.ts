// config.json against runtime-spec 1.0.2: config.md, config-linux.md and its JSON schema, property by property. (That it means the
// same as the built-in sandbox is what the suite shows, with runtimes.)

import assert from "node:assert/strict";
import { CAPABILITY_NAMES } from "../../worker/sandbox/capabilities.ts";
import { ociConfig, ociConfigText, type OciPlan } from "../../worker/sandbox/oci-config.ts";
import { ociSeccomp } from "../../worker/sandbox/oci-seccomp.ts";
import { rlimitValue } from "../../worker/sandbox/rootfs.ts";
import { ALLOWED_SYSCALLS } from "../../worker/sandbox/syscalls.ts";

const PLAN: OciPlan = {
  arch: "x64",
  args: ["/proc/self/fd/4", "sh", "-c", 'echo "{"$number":0}"'],
  env: ["PATH=/bin", 'JSON={"$number":0}'],
  cwd: "/work",
  user: { uid: 0, gid: 0, groups: [0, 10] },
  hostname: "buildkitsandbox",
  rootReadonly: false,
  network: { kind: "none" },
  hostSys: "/bundle/mount-0",
  mounts: [{ destination: "/etc/hosts", type: "bind", source: "/bundle/file-0", options: ["bind", "ro"] }],
  console: null,
  devices: ["/dev/null"],
  maskedDirs: ["/sys/devices/system/cpu/cpu0/thermal_throttle"],
  rlimits: [{ name: "nofile", soft: 10n, hard: rlimitValue(-1) }],
  insecure: false,
  singleId: false,
};

type Check = (value: unknown, at: string) => void;
const text: Check = (value, at) => assert.equal(typeof value, "string", at);
const flag: Check = (value, at) => assert.equal(typeof value, "boolean", at);
const absolute: Check = (value, at) => assert.match(value as string, /^\//, at);
const uint32: Check = (value, at) =>
  assert.ok(Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32, at);
const uint64: Check = (value, at) =>
  assert.ok(typeof value === "number" && Number.isInteger(value) && value >= 0, at);
const oneOf =
  (...values: unknown[]): Check =>
  (value, at) =>
    assert.ok(values.includes(value), `${at}: ${String(value)}`);
const like =
  (pattern: RegExp): Check =>
  (value, at) =>
    assert.match(value as string, pattern, at);
const list =
  (check: Check): Check =>
  (value, at) => {
    assert.ok(Array.isArray(value), at);
    value.forEach((entry, index) => check(entry, `${at}[${index}]`));
  };
/** All of `required`, maybe some of `optional`, nothing else. */
const object =
  (required: Readonly<Record<string, Check>>, optional: Readonly<Record<string, Check>> = {}): Check =>
  (value, at) => {
    assert.ok(typeof value === "object" && value !== null && !Array.isArray(value), at);
    for (const name of Object.keys(required)) assert.ok(name in value, `${at}.${name} is missing`);
    for (const [name, property] of Object.entries(value)) {
      const check = required[name] ?? optional[name];
      assert.ok(check !== undefined, `${at}.${name} is not of the specification`);
      check(property, `${at}.${name}`);
    }
  };

const capabilities = list((value, at) =>
  assert.ok(CAPABILITY_NAMES.includes((value as string).slice(4)), at),
);
const CONFIG = object({
  ociVersion: oneOf("1.0.2"),
  process: object(
    {
      args: list(text),
      cwd: absolute,
    },
    {
      terminal: flag,
      user: object({ uid: uint32, gid: uint32 }, { umask: uint32, additionalGids: list(uint32) }),
      env: list(like(/^[^=]+=/)),
      capabilities: object(
        {},
        {
          bounding: capabilities,
          effective: capabilities,
          permitted: capabilities,
          inheritable: capabilities,
          ambient: capabilities,
        },
      ),
      rlimits: list(object({ type: like(/^RLIMIT_[A-Z]+$/), soft: uint64, hard: uint64 })),
      noNewPrivileges: flag,
    },
  ),
  root: object({ path: text }, { readonly: flag }),
  hostname: text,
  mounts: list(object({ destination: absolute }, { type: text, source: text, options: list(text) })),
  linux: object(
    {},
    {
      namespaces: list(
        object(
          { type: oneOf("mount", "pid", "ipc", "uts", "cgroup", "network", "user", "time") },
          { path: absolute },
        ),
      ),
      maskedPaths: list(absolute),
      readonlyPaths: list(absolute),
      seccomp: object(
        { defaultAction: like(/^SCMP_ACT_/) },
        {
          defaultErrnoRet: uint32,
          architectures: list(like(/^SCMP_ARCH_(?:X86_64|X86|AARCH64)$/)),
          syscalls: list(
            object(
              { names: list(text), action: like(/^SCMP_ACT_(?:ALLOW|ERRNO)$/) },
              {
                errnoRet: uint32,
                args: list(
                  object(
                    { index: uint32, value: uint64, op: like(/^SCMP_CMP_(?:EQ|GT|MASKED_EQ)$/) },
                    { valueTwo: uint64 },
                  ),
                ),
              },
            ),
          ),
        },
      ),
    },
  ),
});

describe("config.json of an OCI bundle", () => {
  const variants: Readonly<Record<string, Partial<OciPlan>>> = {
    plain: {},
    "of an ordinary user": { user: { uid: 1000, gid: 1000, groups: [1000] } },
    "on the host's network": { network: { kind: "host" } },
    "on a network of the pool": { network: { kind: "join", path: "/store/bin/net/net-1" } },
    "with everything allowed": { insecure: true },
    "with one id, a terminal and a read-only root": {
      singleId: true,
      console: "/bundle/mount-1",
      rootReadonly: true,
    },
    "on arm64": { arch: "arm64" },
  };
  for (const [name, change] of Object.entries(variants)) {
    it(`has what the specification has, ${name}`, () => {
      CONFIG(JSON.parse(ociConfigText(ociConfig({ ...PLAN, ...change }))), "config");
    });
  }
  it("holds 64 bits of a limit, and strings that look like its own way of doing so", () => {
    const json = ociConfigText(ociConfig(PLAN));
    assert.match(json, /"soft":10,"hard":18446744073709551615\}/);
    const config = JSON.parse(json) as { process: { args: string[]; env: string[] } };
    assert.deepEqual(config.process.args, PLAN.args);
    assert.deepEqual(config.process.env, PLAN.env);
  });
  it("gives root the default capabilities and others a bounding set only", () => {
    const root = ociConfig(PLAN).process.capabilities;
    assert.equal(root.bounding.length, 14);
    assert.deepEqual([root.effective, root.permitted], [root.bounding, root.bounding]);
    const user = ociConfig({ ...PLAN, user: { uid: 1, gid: 1, groups: [] } }).process.capabilities;
    assert.deepEqual([user.bounding, user.effective, user.permitted], [root.bounding, [], []]);
    assert.deepEqual([root.inheritable, root.ambient], [[], []]);
  });
  it("masks nothing and filters nothing only when everything is allowed", () => {
    const { linux } = ociConfig({ ...PLAN, insecure: true });
    assert.deepEqual([linux.maskedPaths, linux.readonlyPaths, linux.seccomp], [[], [], undefined]);
    const usual = ociConfig(PLAN).linux;
    assert.ok(usual.maskedPaths.includes("/proc/kcore") && usual.readonlyPaths.includes("/proc/sys"));
    assert.ok(!usual.maskedPaths.includes("/sys/kernel/debug"));
    assert.ok(
      ociConfig({ ...PLAN, network: { kind: "host" } }).linux.maskedPaths.includes("/sys/kernel/debug"),
    );
  });
});

describe("The filter of an OCI bundle", () => {
  it("names every allowed call of the table, and none both as allowed and as refused", () => {
    const { syscalls } = ociSeccomp("x64");
    const [allowed, refused] = syscalls;
    const names = ALLOWED_SYSCALLS.filter(
      ([name, x64, i386]) => (x64 !== null || i386 !== null) && name !== "socketcall",
    );
    assert.deepEqual(
      allowed?.names,
      names.map(([name]) => name),
    );
    assert.equal(refused?.errnoRet, 1);
    const all = syscalls.filter(({ args }) => args === undefined).flatMap((rule) => rule.names);
    assert.equal(new Set(all).size, all.length);
  });
  it("allows each family of sockets by the 32 bits the kernel looks at, and not AF_ALG and AF_VSOCK", () => {
    const rules = ociSeccomp("x64").syscalls.filter(({ names }) => names[0] === "socket");
    for (const { action, args } of rules) {
      assert.equal(action, "SCMP_ACT_ALLOW");
      assert.deepEqual([args?.[0]?.value, args?.[0]?.op], [0xffff_ffff, "SCMP_CMP_MASKED_EQ"]);
    }
    const families = rules.map(({ args }) => args?.[0]?.valueTwo);
    assert.deepEqual(
      families,
      Array.from({ length: 46 }, (_, family) => family).filter((family) => family !== 38 && family !== 40),
    );
  });
  it("allows of socketcall what makes no socket, and only where there is one", () => {
    const rules = (arch: "x64" | "arm64"): object[] =>
      ociSeccomp(arch).syscalls.filter(({ names }) => names.includes("socketcall"));
    assert.deepEqual(rules("x64"), [
      { names: ["socketcall"], action: "SCMP_ACT_ALLOW", args: [{ index: 0, value: 1, op: "SCMP_CMP_GT" }] },
    ]);
    assert.deepEqual(rules("arm64"), []);
  });
  it("covers each flag of clone once, on either side", () => {
    const [allow, ...refuse] = ociSeccomp("arm64").syscalls.filter(({ names }) => names[0] === "clone");
    const mask = allow?.args?.[0]?.value ?? 0;
    assert.equal(mask, 0x7e02_0000);
    const flags = refuse.map(({ args }) => args?.[0]?.value ?? 0);
    assert.equal(
      flags.reduce((sum, bit) => sum + bit, 0),
      mask,
    );
  });
});

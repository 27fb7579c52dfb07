// RUN: Dockerfile reference, "RUN".

import assert from "node:assert/strict";
import { parseDevice, parseMount } from "../../frontend/run-mounts.ts";
import { build, failure, image, opsOf } from "./dockerfile.ts";

const asIs = (value: string): string => value;

describe("RUN --mount", () => {
  it("hides in the name of the step what a secret replaces, and nothing else", async () => {
    const run = "RUN --mount=type=secret,id=s,env=TOKEN use $TOKEN $OTHER";
    const { images } = await build(`FROM base:1\nENV TOKEN=old OTHER=o\n${run}\nRUN again $TOKEN\n`);
    const names = [...(images[0]?.definition.notes.values() ?? [])].map(({ name }) => name);
    assert.ok(
      names.some((name) => name.endsWith(" use **** o")),
      names.join(),
    );
    assert.ok(
      names.some((name) => name.endsWith("RUN again old")),
      names.join(),
    );
  });

  it("reads keys in any order and case, quotes around fields, and switches", () => {
    const mount = parseMount('Target=/a,"source=b,c",RW', asIs);
    assert.deepEqual([mount.type, mount.target, mount.source, mount.readonly], ["bind", "/a", "b,c", false]);
    assert.equal(parseMount("type=cache,target=/a", asIs).readonly, false);
    assert.equal(parseMount("type=tmpfs,target=/a,size=1.5g", asIs).sizeBytes, 1.5 * 1024 ** 3);
    assert.equal(parseMount("type=cache,target=/a,mode=01777", asIs).mode, 0o1777);
  });

  it("says what is wrong", () => {
    for (const [text, words] of [
      ["type=bnd", /unsupported mount type "bnd"/],
      ["target", /invalid field 'target' must be a key=value pair/],
      ["targt=/a", /unexpected key 'targt' in 'targt=\/a'/],
      ["type=bind,required", /unexpected key 'required' for mount type 'bind'/],
      ["type=bind,size=1", /unexpected key 'size' for mount type 'bind'/],
      ["type=cache,sharing=mine", /unsupported sharing value "mine"/],
      ["type=bind,sharing=shared", /invalid cache sharing set for bind mount/],
      ["type=cache,mode=9", /invalid value 9 for mode/],
      ["type=cache,uid=-1", /invalid value -1 for uid/],
      ["type=bind,uid=1", /uid not allowed for "bind" type mounts/],
      ["type=tmpfs,size=big", /invalid value for size: big/],
      ["ro=maybe", /invalid value for ro: maybe/],
      ["type=secret", /one of source, target required/],
      ["type=secret,id=a,source=b", /both source and id can't be set/],
      ["type=secret,id=a,from=b", /secret mount should not have a from/],
      ['"a', /unbalanced quotes/],
    ] as const) {
      assert.throws(
        () => parseMount(text, asIs),
        (error: Error & { code?: string }) => {
          assert.match(error.message, words);
          return error.code === "MOUNT_INVALID";
        },
      );
    }
  });

  it("from= may be a variable of the stage, and has to name something", async () => {
    const stages = "FROM base:1 AS one\nWORKDIR /w\nFROM base:1 AS two\nARG X=one\nENV Y=${X}\n";
    const { steps } = await image(`${stages}RUN --mount=from=$Y,target=/a true\n`);
    assert.deepEqual(
      steps.map((step) => step.replace(/^\[(\w+) .*$/, "$1")),
      ["one", "one", "two"],
    );
    const error = await failure(`${stages}RUN --mount=from=$Z,target=/a true\n`);
    assert.match(error.message, /from=\$Z is empty: Z is not set here/);
    assert.equal(error.at?.start.line, 6);
  });

  it("needs a target that is not the root", async () => {
    const error = await failure("FROM base:1\nRUN --mount=type=tmpfs,target=/a/.. true\n");
    assert.match(error.message, /invalid mount target/);
    const missing = await failure("FROM base:1\nRUN --mount=type=cache true\n");
    assert.equal(missing.code, "MOUNT_INVALID");
  });

  it("keeps caches apart by BUILDKIT_CACHE_MOUNT_NS, and fills in variables", async () => {
    const { definition } = await image(
      "FROM base:1\nENV D=/cache/\nRUN --mount=type=cache,target=$D true\n",
      {
        buildArgs: new Map([["BUILDKIT_CACHE_MOUNT_NS", "team"]]),
      },
    );
    const mount = opsOf(definition, "exec")[0]?.mounts[1];
    assert.ok(mount?.kind === "cache" && mount.id === "team//cache" && mount.target === "/cache");
  });

  it("outer mounts come before inner ones", async () => {
    const { definition } = await image(
      "FROM base:1\nRUN --mount=type=tmpfs,target=/a/b --mount=target=/a true\n",
    );
    assert.deepEqual(
      opsOf(definition, "exec")[0]?.mounts.map(({ target }) => target),
      ["/", "/a", "/a/b"],
    );
  });
});

describe("RUN", () => {
  it("takes host name, hosts, limits, shared memory and network from the build", async () => {
    const { definition } = await image("FROM base:1\nRUN true\nRUN --network=host true\n", {
      buildArgs: new Map([["BUILDKIT_SANDBOX_HOSTNAME", "box"]]),
      extraHosts: [{ host: "h", ip: "10.0.0.1" }],
      ulimits: [{ name: "nofile", soft: 1, hard: 2 }],
      cgroupParent: "p",
      shmSizeBytes: 1024,
      network: "none",
    });
    const [one, two] = opsOf(definition, "exec");
    assert.equal(one?.hostname, "box");
    assert.deepEqual(one?.extraHosts, [{ host: "h", ip: "10.0.0.1" }]);
    assert.deepEqual(one?.ulimits, [{ name: "nofile", soft: 1, hard: 2 }]);
    assert.equal(one?.cgroupParent, "p");
    assert.deepEqual(one?.mounts[1], { kind: "tmpfs", target: "/dev/shm", sizeBytes: 1024 });
    assert.deepEqual([one?.network, two?.network], ["none", "host"]);
  });

  it("refuses modes nobody knows, and a list without a command", async () => {
    assert.match(
      (await failure("FROM base:1\nRUN --network=bridge x\n")).message,
      /unsupported network mode "bridge"/,
    );
    assert.match(
      (await failure("FROM base:1\nRUN --security=none x\n")).message,
      /unsupported security "none"/,
    );
    assert.match((await failure("FROM base:1\nRUN []\n")).message, /arguments are required/);
  });

  it("asks for devices by their CDI name", () => {
    assert.deepEqual(parseDevice("vendor.com/gpu=0"), { name: "vendor.com/gpu=0", required: false });
    assert.deepEqual(parseDevice("name=vendor.com/gpu=all,required"), {
      name: "vendor.com/gpu=all",
      required: true,
    });
    assert.throws(() => parseDevice("required"), /device name is required/);
  });

  it("is shown with variables filled in and quotes kept; unknown variables are the shell's", async () => {
    const { steps } = await image("FROM base:1\nARG V=1\nrun echo \"$V\" $OTHER '$V'\n");
    assert.equal(steps.at(-1), "[2/2] RUN echo \"1\" $OTHER '$V'");
  });
});

// Predicates from data, against BuildKit's docs/attestations/slsa-definitions.md and predicate_test.go.

import assert from "node:assert/strict";
import type { Detail } from "../../../exporters/attestation/detail.ts";
import { buildConfig } from "../../../exporters/attestation/llb-json.ts";
import {
  type Capture,
  isHermetic,
  type PredicateOptions,
  provenanceText,
} from "../../../exporters/attestation/provenance.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import { openGraph } from "../../../solver/graph/llb.ts";
import { PLAIN_COPY, type ExecOp } from "../../../solver/graph/op.ts";

const IMAGE = digestOf("image");
const LINUX = { os: "linux", architecture: "amd64" };

const capture = (more: Partial<Capture> = {}): Capture => ({
  call: { frontend: "dockerfile.v0", args: { filename: "Dockerfile" } },
  materials: { images: [], git: [], http: [], local: [] },
  ...{ secrets: [], ssh: [], usesNetwork: false, isIncomplete: false, builderPlatform: LINUX },
  ...more,
});
const run = { invocationId: "id", startedAtMs: 1_700_000_000_123, finishedAtMs: 1_700_000_001_000 };
const options = (more: Partial<PredicateOptions> = {}): PredicateOptions => ({
  ...{ version: "v1", builderId: "", reproducible: false, run, detail: null },
  ...more,
});
const emptyDetail: Detail = {
  ...{ config: { steps: [], digestMapping: {}, numbers: new Map() } },
  ...{ infos: [], locations: new Map(), layers: {} },
};
interface V1 {
  readonly buildDefinition: Readonly<Record<string, Record<string, unknown>>>;
  readonly runDetails: { readonly builder: unknown; readonly metadata: Record<string, unknown> };
}
const v1 = (of: Capture, how: Partial<PredicateOptions> = {}): V1 =>
  JSON.parse(provenanceText(of, options(how))) as V1;

describe("provenance", () => {
  it("is SLSA v1 to the byte", () => {
    const image = { reference: "docker.io/library/alpine:3", platform: LINUX, digest: IMAGE };
    const of = capture({
      materials: {
        images: [{ ...image, isLayout: false, isBlob: false }],
        git: [{ url: "https://h.io/r.git#v1", commit: "a".repeat(40) }],
        http: [{ url: "https://h.io/f?a=1&b=2", digest: IMAGE }],
        local: [],
      },
    });
    assert.equal(
      provenanceText(of, options({ builderId: "https://ci/1" })),
      '{"buildDefinition":{"buildType":"https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",' +
        '"resolvedDependencies":[' +
        `{"uri":"pkg:docker/alpine@3?platform=linux%2Famd64","digest":{"sha256":"${IMAGE.slice(7)}"}},` +
        `{"uri":"https://h.io/r.git#v1","digest":{"sha1":"${"a".repeat(40)}"}},` +
        `{"uri":"https://h.io/f?a=1\\u0026b=2","digest":{"sha256":"${IMAGE.slice(7)}"}}],` +
        '"externalParameters":{"configSource":{"path":"Dockerfile"},"request":{"frontend":"dockerfile.v0"}},' +
        '"internalParameters":{"builderPlatform":"linux/amd64"}},' +
        '"runDetails":{"builder":{"id":"https://ci/1"},"metadata":{"invocationId":"id",' +
        '"startedOn":"2023-11-14T22:13:20.123Z","finishedOn":"2023-11-14T22:13:21Z","buildkit_metadata":{},' +
        '"buildkit_hermetic":true,"buildkit_completeness":{"request":true,"resolvedDependencies":true}}}}',
    );
  });

  it("is SLSA v0.2 to the byte", () => {
    const of = capture({ materials: { images: [], git: [], http: [], local: ["context"] } });
    assert.equal(
      provenanceText(of, options({ version: "v0.2", reproducible: true })),
      '{"builder":{"id":""},"buildType":"https://mobyproject.org/buildkit@v1",' +
        '"invocation":{"configSource":{"entryPoint":"Dockerfile"},' +
        '"parameters":{"frontend":"dockerfile.v0","locals":[{"name":"context"}]},' +
        '"environment":{"platform":"linux/amd64"}},' +
        '"metadata":{"buildInvocationID":"id","buildStartedOn":"2023-11-14T22:13:20.123Z",' +
        '"buildFinishedOn":"2023-11-14T22:13:21Z",' +
        '"completeness":{"parameters":true,"environment":true,"materials":false},"reproducible":true,' +
        '"https://mobyproject.org/buildkit@v1#metadata":{}}}',
    );
  });

  it("says what was asked for: all of it with mode=max, no values with mode=min", () => {
    const args = {
      ...{ "build-arg:A": "1", "label:l": "2", target: "t", platform: "linux/amd64", "cgroup-parent": "c" },
      ...{ "attest:provenance": "mode=min", "vcs:source": "https://u:p@h.io/r", "vcs:revision": "r" },
      "context:x": "https://u:p@h.io/x.git",
    };
    const of = capture({
      call: { frontend: "dockerfile.v0", args },
      secrets: [
        { id: "z", optional: false },
        { id: "a", optional: true },
      ],
      ssh: [{ id: "default", optional: false }],
    });
    const max = v1(of, { detail: emptyDetail });
    assert.deepEqual(max.buildDefinition["externalParameters"]?.["request"], {
      frontend: "dockerfile.v0",
      args: {
        "build-arg:A": "1",
        "context:x": "https://xxxxx:xxxxx@h.io/x.git",
        "label:l": "2",
        target: "t",
      },
      secrets: [{ id: "a", optional: true }, { id: "z" }],
      ssh: [{ id: "default" }],
    });
    assert.deepEqual(max.runDetails.metadata["buildkit_metadata"], {
      vcs: { revision: "r", source: "https://xxxxx:xxxxx@h.io/r" },
    });
    const min = v1(of);
    assert.deepEqual(min.buildDefinition["externalParameters"]?.["request"], {
      frontend: "dockerfile.v0",
      args: { "context:x": "https://xxxxx:xxxxx@h.io/x.git", target: "t" },
    });
    assert.equal((min.runDetails.metadata["buildkit_completeness"] as { request: boolean }).request, false);
  });

  it("names a remote context with what it stood for, and no password", () => {
    const git = [{ url: "https://xxxxx:xxxxx@h.io/r.git#v1", commit: "b".repeat(40) }];
    const context = "https://u:p@h.io/r.git#v1:sub";
    const of = capture({
      call: { frontend: "dockerfile.v0", args: { context, filename: "d/Dockerfile" } },
      materials: { images: [], git, http: [], local: [] },
    });
    assert.deepEqual(v1(of).buildDefinition["externalParameters"], {
      configSource: {
        uri: "https://xxxxx:xxxxx@h.io/r.git#v1:sub",
        digest: { sha1: "b".repeat(40) },
        path: "d/Dockerfile",
      },
      request: { frontend: "dockerfile.v0" },
    });
  });

  it("has an image once that was asked for by tag and solved by digest, and layouts and blobs as such", () => {
    const image = { platform: LINUX, digest: IMAGE, isLayout: false, isBlob: false };
    const images = [
      { ...image, reference: `docker.io/library/alpine:latest@${IMAGE}` },
      { ...image, reference: "docker.io/library/alpine" },
      { ...image, reference: "docker.io/library/alpine" },
      { ...image, reference: `h.io/b@${IMAGE}`, isBlob: true },
      { ...image, reference: `lay:1@${IMAGE}`, isLayout: true },
    ];
    const of = capture({ materials: { images, git: [], http: [], local: [] } });
    const found = v1(of).buildDefinition["resolvedDependencies"] as unknown as { uri: string }[];
    assert.deepEqual(
      found.map(({ uri }) => uri),
      [
        "pkg:docker/alpine@latest?platform=linux%2Famd64",
        `pkg:oci/lay@1?digest=${IMAGE}&platform=linux%2Famd64`,
        `pkg:docker/h.io/b?digest=${IMAGE}&ref_type=blob`,
      ],
    );
  });

  it("is hermetic only where nothing else can have had a say", () => {
    assert.ok(isHermetic(capture()));
    assert.ok(!isHermetic(capture({ usesNetwork: true })));
    assert.ok(!isHermetic(capture({ isIncomplete: true })));
    const local = { images: [], git: [], http: [], local: ["context"] };
    assert.ok(!isHermetic(capture({ materials: local })));
    assert.equal(v1(capture({ usesNetwork: true })).runDetails.metadata["buildkit_hermetic"], undefined);
  });

  it("says nothing of one run where the statement is to be the same for all", () => {
    const { metadata } = v1(capture(), { run: null, reproducible: true }).runDetails;
    assert.deepEqual(Object.keys(metadata), [
      ...["buildkit_metadata", "buildkit_hermetic", "buildkit_completeness", "buildkit_reproducible"],
    ]);
  });
});

describe("steps in provenance", () => {
  it("have the fields of BuildKit's JSON, and no passwords", () => {
    const graph = openGraph();
    const note = { name: "", ignoreCache: false, at: [], group: null };
    const attrs = { "local.session": "s", "git.fullurl": "https://u:p@h.io/r.git" };
    const source = { kind: "source", identifier: "git://h.io/r.git#v1", attrs } as const;
    const base = graph.add(source, null, [], note);
    const exec: ExecOp = {
      ...{ kind: "exec", args: ["sh", "-c", "x"], env: ["A=1"], cwd: "/", user: "", hostname: "h" },
      proxyEnv: { httpProxy: "http://u:p@proxy", httpsProxy: "", ftpProxy: "", noProxy: "", allProxy: "" },
      ...{ extraHosts: [{ host: "a", ip: "1.2.3.4" }], ulimits: [{ name: "nofile", soft: 1, hard: 2 }] },
      ...{ cgroupParent: "", validExitCodes: [0, 3], network: "none", security: "sandbox", devices: [] },
      secretEnv: [{ id: "s", name: "S", optional: true }],
      mounts: [
        { kind: "bind", input: 0, selector: "", target: "/", readonly: false, output: 0 },
        {
          kind: "cache",
          id: "c",
          input: null,
          selector: "",
          target: "/c",
          readonly: false,
          sharing: "locked",
        },
        { kind: "tmpfs", target: "/t", sizeBytes: 4096 },
        { kind: "secret", id: "k", target: "/k", uid: 0, gid: 1, mode: 0o400, optional: false },
      ],
    };
    const ran = graph.add(exec, LINUX, [base], note);
    const copied = graph.add(
      {
        kind: "file",
        actions: [
          {
            ...{ ...PLAIN_COPY, kind: "copy", from: 1, base: 0, output: 0, src: "/a", dest: "/b" },
            owner: { user: { kind: "name", name: "app", input: 0 }, group: { kind: "id", id: 7 } },
            timestampNs: 1_700_000_000_000_000_000n,
          },
        ],
      },
      LINUX,
      [ran, base],
      note,
    );
    const definition = graph.definition(copied);
    const { steps, digestMapping, numbers } = buildConfig(definition, copied);
    assert.equal(numbers.get(copied.vertex), 2);
    assert.equal(digestMapping[copied.vertex], "step2");
    assert.equal(Object.keys(digestMapping).length, 4);
    const platform = { Architecture: "amd64", OS: "linux" };
    assert.deepEqual(steps, [
      {
        id: "step0",
        op: {
          Op: {
            source: {
              identifier: "git://h.io/r.git#v1",
              attrs: { "git.fullurl": "https://xxxxx:xxxxx@h.io/r.git" },
            },
          },
          constraints: {},
        },
      },
      {
        id: "step1",
        inputs: ["step0:0"],
        op: {
          Op: {
            exec: {
              meta: {
                ...{ args: ["sh", "-c", "x"], env: ["A=1"], cwd: "/", hostname: "h" },
                extraHosts: [{ Host: "a", IP: "1.2.3.4" }],
                ulimit: [{ Name: "nofile", Soft: 1, Hard: 2 }],
                validExitCodes: [0, 3],
              },
              mounts: [
                { dest: "/" },
                {
                  ...{ input: -1, dest: "/c", output: -1, mountType: 3 },
                  cacheOpt: { ID: "c", sharing: 2 },
                },
                { input: -1, dest: "/t", output: -1, mountType: 4, TmpfsOpt: { size: 4096 } },
                {
                  ...{ input: -1, dest: "/k", mountType: 1 },
                  secretOpt: { ID: "k", gid: 1, mode: 0o400 },
                },
              ],
              network: 2,
              secretenv: [{ ID: "s", name: "S", optional: true }],
            },
          },
          platform,
          constraints: {},
        },
      },
      {
        id: "step2",
        inputs: ["step1:0", "step0:0"],
        op: {
          Op: {
            file: {
              actions: [
                {
                  ...{ input: 0, secondaryInput: 1, output: 0 },
                  Action: {
                    copy: {
                      ...{ src: "/a", dest: "/b", mode: -1, timestamp: 1_700_000_000_000_000_000 },
                      owner: {
                        user: { User: { byName: { name: "app" } } },
                        group: { User: { byId: 7 } },
                      },
                    },
                  },
                },
              ],
            },
          },
          platform,
          constraints: {},
        },
      },
      { id: "step3", inputs: ["step2:0"], op: { Op: {} } },
    ]);
  });
});

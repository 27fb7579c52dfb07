import assert from "node:assert/strict";
import { ingredientsOf, keyOf, opText } from "../../solver/cache-key.ts";
import type { Op, Platform } from "../../solver/graph/op.ts";
import { COPY, EXEC } from "./graphs.ts";

const LINUX: Platform = { os: "linux", architecture: "amd64" };
const digest = (op: Op, platform: Platform | null = LINUX): string => opText(ingredientsOf(op, platform));
const counts = (a: Op, b: Op): void => assert.notEqual(digest(a), digest(b));
const doesNotCount = (a: Op, b: Op): void => assert.equal(digest(a), digest(b));

describe("cache key", () => {
  it("cannot be confused by moving bytes between fields", () => {
    assert.notEqual(keyOf("op", ["a", "bc"]), keyOf("op", ["ab", "c"]));
    assert.notEqual(keyOf("op", ["a"]), keyOf("op", ["a", ""]));
    assert.notEqual(keyOf("op", ["1:a"]), keyOf("op1:", ["a"]));
    counts({ ...EXEC, args: ["a", "b"] }, { ...EXEC, args: ["a b"] });
    counts({ ...EXEC, args: ["a"], env: [] }, { ...EXEC, args: [], env: ["a"] });
  });

  it("of a command has all that it can see", () => {
    counts(EXEC, { ...EXEC, args: ["true"] });
    counts(EXEC, { ...EXEC, env: ["A=1"] });
    counts({ ...EXEC, env: ["A=1", "B=2"] }, { ...EXEC, env: ["B=2", "A=1"] });
    counts(EXEC, { ...EXEC, cwd: "/src" });
    counts(EXEC, { ...EXEC, user: "1000" });
    counts(EXEC, { ...EXEC, hostname: "box" });
    counts(EXEC, { ...EXEC, network: "none" });
    counts(EXEC, { ...EXEC, security: "insecure" });
    counts(EXEC, { ...EXEC, validExitCodes: [1] });
    counts(EXEC, { ...EXEC, ulimits: [{ name: "nofile", soft: 1, hard: 2 }] });
    counts(EXEC, { ...EXEC, extraHosts: [{ host: "a", ip: "::1" }] });
    counts(EXEC, { ...EXEC, secretEnv: [{ id: "s", name: "S", optional: false }] });
    counts(EXEC, { ...EXEC, devices: [{ name: "gpu", optional: false }] });
    counts(EXEC, { ...EXEC, mounts: [{ kind: "tmpfs", target: "/tmp", sizeBytes: null }] });
    assert.notEqual(digest(EXEC), digest(EXEC, { os: "linux", architecture: "arm64" }));
  });

  it("of a command has nothing of the place where it runs", () => {
    const proxyEnv = { httpProxy: "http://p", httpsProxy: "", ftpProxy: "", noProxy: "", allProxy: "" };
    doesNotCount(EXEC, { ...EXEC, proxyEnv });
    doesNotCount(EXEC, { ...EXEC, cgroupParent: "/builds" });
    doesNotCount(
      { ...EXEC, extraHosts: [{ host: "a", ip: "10.0.0.1" }] },
      { ...EXEC, extraHosts: [{ host: "a", ip: "10.0.0.2" }] },
    );
  });

  it("of file changes has every field, data by its bytes, and no platform", () => {
    const file = (data: string): Op => ({
      kind: "file",
      actions: [
        {
          ...{
            kind: "mkfile",
            path: "/a",
            mode: 0o644,
            data: Buffer.from(data),
            owner: null,
            timestampNs: null,
          },
          ...{ base: null, output: 0 },
        },
      ],
    });
    counts(file("1"), file("2"));
    doesNotCount(file("1"), file("1"));
    counts({ kind: "file", actions: [COPY] }, { kind: "file", actions: [{ ...COPY, timestampNs: 0n }] });
    counts(
      { kind: "file", actions: [COPY] },
      { kind: "file", actions: [{ ...COPY, excludePatterns: ["*.md"] }] },
    );
    assert.equal(digest(file("1")), digest(file("1"), { os: "linux", architecture: "arm64" }));
  });

  it("of an image has its platform but not the name it was found by", () => {
    const image = (identifier: string, attrs = {}): Op => ({ kind: "source", identifier, attrs });
    doesNotCount(image("docker-image://docker.io/library/a:1"), image("docker-image://mirror/a:2"));
    doesNotCount(image("docker-image://a"), image("docker-image://a", { "image.resolvemode": "pull" }));
    doesNotCount(image("docker-image://a"), image("oci-layout:///somewhere:latest"));
    doesNotCount(image("docker-image://a"), image("docker-image://a", { "image.checksum": "sha256:0" }));
    doesNotCount(image("docker-image://a"), image("docker-image://a", { "image.layerlimit": "1" })); // in the pin
    doesNotCount(
      image("oci-layout://a@b"),
      image("oci-layout://a@b", { "oci.store": "s", "oci.session": "t" }),
    );
    assert.notEqual(
      digest(image("docker-image://a")),
      digest(image("docker-image://a"), { os: "linux", architecture: "arm64" }),
    );
  });

  it("of a repository has the directory in it, and the address only where .git is kept", () => {
    const git = (identifier: string, attrs = {}): Op => ({ kind: "source", identifier, attrs });
    doesNotCount(git("git://h/r.git#main"), git("git://mirror/r.git#v1"));
    doesNotCount(git("git://h/r.git#main"), git("git://h/r.git#main", { "git.authtokensecret": "T" }));
    counts(git("git://h/r.git#main:sub"), git("git://h/r.git#main"));
    counts(git("git://h/r", { "git.keepgitdir": "true" }), git("git://m/r", { "git.keepgitdir": "true" }));
    const full = (url: string, attrs = {}): Op => git("git://r#v1", { "git.fullurl": url, ...attrs });
    doesNotCount(full("https://h/r"), full("ssh://git@h/r"));
    doesNotCount(full("https://h/r"), full("https://h/r", { "git.checksum": "0123456" }));
    counts(
      full("https://h/r", { "git.keepgitdir": "true" }),
      full("ssh://git@h/r", { "git.keepgitdir": "true" }),
    );
  });

  it("of a definition in a file has where the file is, of a passthrough which input is which output", () => {
    const build = (change: object): Op =>
      ({ kind: "build", builder: -1, inputs: { a: 0 }, attrs: {}, ...change }) as Op;
    counts(build({}), build({ inputs: { a: 1 } }));
    counts(build({}), build({ attrs: { "llbbuild.filename": "x" } }));
    const pass = (id: string, outputs: number[]): Op => ({ kind: "passthrough", id, outputs });
    counts(pass("a", [0]), pass("b", [0]));
    counts(pass("a", [0, 1]), pass("a", [1, 0]));
  });

  it("of a download has not its address: its pin names content, file, time and mode", () => {
    const file = (identifier: string, attrs = {}): Op => ({ kind: "source", identifier, attrs });
    doesNotCount(file("https://h/a.tar"), file("http://mirror/a.tar"));
    doesNotCount(file("https://h/a.tar"), file("https://h/a.tar", { "http.checksum": "sha256:0" }));
    counts(file("https://h/a.tar"), file("https://h/a.tar", { "http.filename": "b" }));
  });
});

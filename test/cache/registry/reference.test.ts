import assert from "node:assert/strict";
import {
  canonicalHost,
  isLoopbackHost,
  familiarReference,
  formatReference,
  parseReference,
  withDefaultTag,
} from "../../../cache/registry/reference.ts";

const HEX = "a".repeat(64);

describe("image references", () => {
  it("have one spelling for rules about a registry", () => {
    const hub = ["docker.io", "index.docker.io", "Registry-1.docker.io:443", "DOCKER.IO"];
    assert.deepEqual([...new Set(hub.map(canonicalHost))], ["docker.io"]);
    const others = ["Reg.Example:443", "reg.example:4430", "*.Example"].map(canonicalHost);
    assert.deepEqual(others, ["reg.example", "reg.example:4430", "*.example"]);
  });

  const full: readonly (readonly [string, string])[] = [
    ["alpine", "docker.io/library/alpine"],
    ["alpine:3.20", "docker.io/library/alpine:3.20"],
    ["user/app", "docker.io/user/app"],
    ["docker.io/alpine", "docker.io/library/alpine"],
    ["index.docker.io/user/app", "docker.io/user/app"],
    ["ghcr.io/o/app:1", "ghcr.io/o/app:1"],
    ["localhost/app", "localhost/app"],
    ["localhost:5000/a/b", "localhost:5000/a/b"],
    ["[::1]:5000/a", "[::1]:5000/a"],
    ["Registry/app", "Registry/app"],
    [`a@sha256:${HEX}`, `docker.io/library/a@sha256:${HEX}`],
    [`h.io/a:t@sha256:${HEX}`, `h.io/a:t@sha256:${HEX}`],
    ["a__b/c--d.e_f", "docker.io/a__b/c--d.e_f"],
  ];
  for (const [text, expected] of full) {
    it(`reads ${text} as ${expected}`, () => assert.equal(formatReference(parseReference(text)), expected));
  }

  const bad: readonly (readonly [string, RegExp])[] = [
    ["", /invalid reference format/],
    ["Alpine", /repository name \(library\/Alpine\)|repository name \(Alpine\) must be lowercase/],
    ["a:", /invalid reference format/],
    ["a:b:c", /invalid reference format/],
    ["a/../b", /invalid reference format/],
    ["-a", /invalid reference format/],
    ["a//b", /invalid reference format/],
    ["a@sha256:abc", /invalid reference format/],
    [`a@sha512:${HEX}${HEX}`, /unsupported digest algorithm/],
    [HEX, /cannot specify 64-byte hexadecimal strings/],
    [`h.io/${"a".repeat(256)}`, /must not be more than 255 characters/],
    ["http://h.io/a", /invalid reference format/],
  ];
  for (const [text, message] of bad) {
    it(`refuses ${JSON.stringify(text.slice(0, 30))}`, () => {
      assert.throws(() => parseReference(text), { code: "REFERENCE_INVALID", message });
    });
  }

  it("takes long hostile text in no time", () => {
    const start = performance.now();
    for (const text of ["a-".repeat(2000), "a.".repeat(2000), `a/${"_".repeat(4000)}`, "a".repeat(1e6)]) {
      assert.throws(() => parseReference(text), { code: "REFERENCE_INVALID" });
    }
    assert.ok(performance.now() - start < 5000);
  });

  it("gives short names back", () => {
    for (const text of ["alpine:latest", "user/app:1", "ghcr.io/o/app:1"]) {
      assert.equal(familiarReference(withDefaultTag(parseReference(text))), text);
    }
  });

  it("knows what is this machine", () => {
    for (const host of ["localhost", "localhost:5000", "127.0.0.1:1", "127.9.8.7", "[::1]:80"])
      assert.ok(isLoopbackHost(host), host);
    for (const host of ["localhost.example.com", "128.0.0.1", "127.0.0.1.nip.io", "[::2]"])
      assert.ok(!isLoopbackHost(host), host);
  });
});

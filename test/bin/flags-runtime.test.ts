// --oci-runtime and its variable: which takes precedence, and what a path is relative to.

import assert from "node:assert/strict";
import { parseFlags } from "../../bin/args.ts";
import { readOciRuntime, RUNTIME_FLAGS } from "../../bin/flags-runtime.ts";

function read(env: Readonly<Record<string, string>>, ...args: string[]): string | null {
  const spec = {
    name: "build",
    summary: "",
    usage: "",
    flags: RUNTIME_FLAGS,
    positionals: { min: 0, max: 0 },
  };
  return readOciRuntime(parseFlags(spec, args), env, "/here");
}

describe("the OCI runtime on the command line", () => {
  it("is none when none is asked for", () => {
    assert.equal(read({}), null);
    assert.equal(read({ TSBUILD_OCI_RUNTIME: "" }), null);
  });
  it("is a name as it is, or a path from the working directory", () => {
    assert.equal(read({}, "--oci-runtime=crun"), "crun");
    assert.equal(read({}, "--oci-runtime", "./bin/crun"), "/here/bin/crun");
    assert.equal(read({}, "--oci-runtime", "/opt/crun"), "/opt/crun");
  });
  it("comes from the environment unless the flag says another, or (empty) none", () => {
    const env = { TSBUILD_OCI_RUNTIME: "runc" };
    assert.equal(read(env), "runc");
    assert.equal(read(env, "--oci-runtime=crun"), "crun");
    assert.equal(read(env, "--oci-runtime="), null);
  });
});

// Options of clients as requests to the engine.

import { create } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { requestOf } from "../../bin/daemon/build-request.ts";
import type { RemoteSession } from "../../bin/daemon/remote-session.ts";
import { SolveRequestSchema } from "../../bin/wire/messages/moby/buildkit/v1/control_pb.ts";
import { NO_SESSION } from "../support/session.ts";

describe("options of a client's build", () => {
  const requested = (options: Record<string, string>) =>
    requestOf(create(SolveRequestSchema), {
      options: { context: "https://example.com/app.git", ...options },
      inputs: new Map(),
      imports: [],
      session: NO_SESSION as RemoteSession,
      cacheFrom: null,
    });
  const caches = (options: Record<string, string>): readonly string[] =>
    requested(options).cacheFrom.map(({ at }) => (at.kind === "registry" ? at.ref : at.kind));

  it("may name caches as clients of old do, once each", () => {
    assert.deepEqual(caches({ "cache-from": "example.com/a:1,example.com/b:2" }), [
      "example.com/a:1",
      "example.com/b:2",
    ]);
    const listed = JSON.stringify([{ Type: "registry", Attrs: { ref: "example.com/b:2" } }]);
    assert.deepEqual(caches({ "cache-imports": listed, "cache-from": "example.com/b:2,example.com/c:3" }), [
      "example.com/b:2",
      "example.com/c:3",
    ]);
  });

  it("may give the steps' host name, unless a build argument does", () => {
    const name = (options: Record<string, string>) =>
      requested({ hostname: "option", ...options }).buildArgs.get("BUILDKIT_SANDBOX_HOSTNAME");
    assert.equal(name({}), "option");
    assert.equal(name({ "build-arg:BUILDKIT_SANDBOX_HOSTNAME": "argument" }), "argument");
  });
});

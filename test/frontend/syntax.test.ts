import assert from "node:assert/strict";
import { convert } from "../../frontend/frontend.ts";
import { CALL, failure, hostOf, optionsOf } from "./dockerfile.ts";

/** What was said about the frontend of a build that works. */
async function notes(dockerfile: string, buildArgs: Record<string, string> = {}): Promise<readonly string[]> {
  const said: string[] = [];
  const options = optionsOf(dockerfile, { buildArgs: new Map(Object.entries(buildArgs)) });
  await convert(options, hostOf(), { ...CALL, note: (message) => said.push(message) });
  return said;
}

describe("# syntax=", () => {
  it("serves the official frontends in all their forms and says so once", async () => {
    for (const name of [
      "docker/dockerfile",
      "docker/dockerfile:1",
      "docker/dockerfile:1.7-labs",
      "docker.io/docker/dockerfile:latest",
      "index.docker.io/docker/dockerfile:1",
      "docker/dockerfile-upstream:master",
      `docker/dockerfile:1@sha256:${"0".repeat(64)}`,
      "docker/dockerfile:1 with a remark",
    ]) {
      const said = await notes(`#!/usr/bin/env x\n# syntax=${name}\nFROM base:1\n`);
      assert.equal(said.length, 1, name);
      assert.match(said[0] as string, /^syntax=(?:index\.)?docker.*: using the built-in/);
    }
  });

  it("refuses other frontends by name and marks the line", async () => {
    for (const name of ["example.com/docker/dockerfile:1", "docker/dockerfile-other", "Not An Image"]) {
      const error = await failure(`# escape=\`\n# syntax=${name}\nNOTHING of ours\n`);
      assert.equal(error.code, "DOCKERFILE_UNSUPPORTED");
      assert.ok(error.message.includes(name.split(" ")[0] as string));
      assert.equal(error.at?.start.line, 2);
    }
  });

  it("is found in files of other languages", async () => {
    assert.equal((await failure("// syntax=example/hcl:1\ntarget x {}\n")).code, "DOCKERFILE_UNSUPPORTED");
    assert.equal((await failure('{"syntax": "example/json"}')).code, "DOCKERFILE_UNSUPPORTED");
  });

  it("is a comment anywhere but at the top", async () => {
    assert.deepEqual(await notes("# a remark\n# syntax=example/none\nFROM base:1\n"), []);
    assert.deepEqual(await notes("\n# syntax=example/none\nFROM base:1\n"), []);
  });

  it("gives way to the build argument BUILDKIT_SYNTAX", async () => {
    const file = "# syntax=example/none\nFROM base:1\n";
    const args = { BUILDKIT_SYNTAX: "docker/dockerfile:1" };
    assert.deepEqual(await notes(file, args), [
      "BUILDKIT_SYNTAX=docker/dockerfile:1: using the built-in Dockerfile frontend",
    ]);
    const error = await failure("FROM base:1\n", {
      buildArgs: new Map([["BUILDKIT_SYNTAX", "example/none"]]),
    });
    assert.equal(error.code, "DOCKERFILE_UNSUPPORTED");
  });
});

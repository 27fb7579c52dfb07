// Errors for a name without an image: first what the local store has, then the registry's error.

import assert from "node:assert/strict";
import { openWorkshop, type Workshop } from "./fixture.ts";

describe("an image name that no registry answers for", () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
    const empty = shop.context("empty", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
    await shop.ok(["build", "--platform=linux/s390x", "-t", "localhost:1/app:one", empty]);
    await shop.ok(["build", "-t", "localhost:1/tool", empty]);
  });
  after(() => shop[Symbol.dispose]());

  async function failure(dockerfile: string, ...flags: string[]): Promise<string> {
    const context = shop.context("failing", { Dockerfile: dockerfile });
    const { code, stderr } = await shop.run(["build", "--progress=plain", ...flags, context]);
    assert.equal(code, 1, stderr);
    return stderr.slice(stderr.lastIndexOf("ERROR:"));
  }

  it("is said to be here for another platform", async () => {
    const said = await failure("FROM localhost:1/app:one\nCOPY Dockerfile /\n", "--platform=linux/amd64");
    assert.match(
      said,
      /app:one is in the local store for linux\/s390x only, not for linux\/amd64; localhost:1/,
    );
    assert.match(said, /hint: build or pull it for linux\/amd64, or use --platform linux\/s390x/);
  });

  it("is said to be here with another tag", async () => {
    const said = await failure("FROM localhost:1/app:two\n");
    assert.match(said, /app:two is not in the local store, which has localhost:1\/app:one; localhost:1/);
  });

  it("is said to be near another in FROM, COPY --from, run, tag and push", async () => {
    const near = /did you mean localhost:1\/tool:latest\?/;
    assert.match(await failure("FROM localhost:1/tolo\n"), near);
    assert.match(await failure("FROM scratch\nCOPY --from=localhost:1/toool /a /\n"), near);
    for (const args of [
      ["run", "localhost:1/tol"],
      ["run", "--pull=never", "localhost:1/tol"],
      ["tag", "localhost:1/tol", "other"],
      ["push", "localhost:1/tol"],
    ]) {
      const { code, stderr } = await shop.run(args);
      assert.notEqual(code, 0);
      assert.match(stderr, near, args.join(" "));
    }
  });

  it("is said to be here when --pull passed it by", async () => {
    const said = await failure("FROM localhost:1/tool\nCOPY Dockerfile /\n", "--pull");
    assert.match(
      said,
      /tool:latest is in the local store, but was not used; localhost:1\/tool:latest: cannot/,
    );
    assert.match(said, /hint: without --pull, the local image is used/);
  });

  it("keeps the words of the registry where nothing here is like it", async () => {
    assert.match(
      await failure("FROM localhost:1/quite/different\n"),
      /failed to solve: localhost:1\/quite\/different:latest: cannot reach the registry/,
    );
  });

  it("is near another by what is behind the registry they share", async () => {
    const { stderr } = await shop.run(["push", "localhost:1/quite"]);
    assert.match(stderr, /No such image: localhost:1\/quite:latest\nhint: run 'tsbuild images'/);
    assert.doesNotMatch(await failure("FROM localhost:1/quite\n"), /did you mean/);
  });

  it("is the registry's matter alone in a pull, whatever is here", async () => {
    for (const name of ["localhost:1/tool", "localhost:1/tol"]) {
      const { code, stderr } = await shop.run(["pull", name]);
      assert.equal(code, 1);
      assert.match(stderr, /^ERROR: localhost:1\/to+l:latest: cannot reach the registry localhost:1/m);
      assert.doesNotMatch(stderr, /local store|local image/);
    }
  });

  it("is said to be here for another platform by what reads it here", async () => {
    for (const args of [["sbom"], ["history"], ["save", "-o", shop.at("none.tar")]]) {
      const { code, stderr } = await shop.run([...args, "--platform=linux/arm64", "localhost:1/app:one"]);
      assert.equal(code, 1);
      assert.match(stderr, /for linux\/arm64\nhint: it is there for linux\/s390x\n$/, args.join(" "));
    }
  });

  it("is named by a push and by caches as the user gave it", async () => {
    const { code, stderr } = await shop.run(["push", "localhost:1/tool"]);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /ERROR: failed to push localhost:1\/tool:latest: cannot reach the registry localhost:1/,
    );
    const context = shop.context("pushed", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
    const pushed = await shop.run(["build", "--push", "-t", "localhost:1/a:x", context]);
    assert.match(pushed.stderr, /failed to push localhost:1\/a:x: cannot reach/);
    const cached = await shop.run(["build", "--cache-to=type=registry,ref=localhost:1/c:x", context]);
    assert.match(cached.stderr, /failed to solve: localhost:1\/c:x: cannot reach/);
    assert.doesNotMatch(stderr + pushed.stderr + cached.stderr, /ERROR.*@sha256/);
  });
});

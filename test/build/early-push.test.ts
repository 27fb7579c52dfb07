// A push begins with the first layer that is finished, while later steps run.

import assert from "node:assert/strict";
import { type DebianRegistry, startRegistry } from "../support/registry.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`outputs of a build as ${account.name} whose steps still run`, () => {
    let shop: Workshop;
    let registry: DebianRegistry;
    before(async () => {
      registry = await startRegistry();
      shop = await openWorkshop(account);
    });
    after(async () => {
      await registry[Symbol.asyncDispose]();
      shop[Symbol.dispose]();
    });

    const dockerfile = (last: string): string =>
      `FROM base AS other\nRUN echo unused > /unused\nFROM base\nRUN echo first > /first\nRUN ${last}\nCOPY --from=other /unused /copied\n`;

    it("get the layers of earlier ones: a registry has them before the last step is over", async () => {
      const context = shop.context("app", { Dockerfile: dockerfile("sleep 997") });
      const name = `${registry.host}/early/app:1`;
      const build = shop.start(["build", "--push", "-t", name, context]);
      const first = await Promise.race([
        registry.asked(/^PUT \/v2\/early\/app\/blobs\/uploads\//).then(() => "sent"),
        build.outcome.then(({ stderr }) => stderr),
      ]);
      assert.equal(first, "sent");
      build.kill("SIGINT");
      assert.equal((await build.outcome).code, 130);
      assert.equal((await fetch(`http://${registry.host}/v2/early/app/manifests/1`)).status, 404);

      // What is there is neither packed nor sent again, nor asked for twice.
      const before = (await registry.requests()).length;
      shop.context("app", { Dockerfile: dockerfile("echo last > /last") });
      await shop.ok(["build", "--push", "-t", name, context]);
      const requests = (await registry.requests()).slice(before);
      const puts = requests.filter((request) => request.startsWith("PUT /v2/early/app/blobs/uploads/"));
      const manifest = await fetch(`http://${registry.host}/v2/early/app/manifests/1`, {
        headers: { accept: "application/vnd.oci.image.manifest.v1+json" },
      });
      const { layers } = (await manifest.json()) as { layers: readonly { digest: string }[] };
      assert.equal(layers.length, 4);
      for (const { digest } of layers)
        assert.equal((await fetch(`http://${registry.host}/v2/early/app/blobs/${digest}`)).status, 200);
      const asked = requests.filter(
        (request) => request.startsWith("HEAD ") && !request.includes("/manifests/"),
      );
      assert.equal(new Set(asked).size, asked.length, asked.join("\n"));
      assert.ok(puts.length <= 5, puts.join("\n")); // three layers at most, and the config
    });

    it("that are pushed a second time take a question for each blob, and the manifest", async () => {
      const files = { a: "a", b: "b", Dockerfile: "FROM scratch\nCOPY a /\nCOPY b /\n" };
      const context = shop.context("twice", files);
      const push = async (): Promise<readonly string[]> => {
        const before = (await registry.requests()).length;
        await shop.ok(["build", "--push", "-t", `${registry.host}/early/twice:1`, context]);
        return (await registry.requests()).slice(before);
      };
      await push();
      const again = await push();
      const asked = again.filter((one) => /^HEAD \/v2\/early\/twice\/blobs\/sha256:/.test(one));
      assert.equal(new Set(asked).size, 3); // two layers and the config
      assert.deepEqual(
        again.filter((one) => !asked.includes(one)),
        ["PUT /v2/early/twice/manifests/1"],
      );
      assert.equal(again.length, 4);
    });
  });
}

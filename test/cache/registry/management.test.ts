// Lists of tags, and removal, by servers that answer as registries do.

import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { openRegistry } from "../../../cache/registry/client.ts";
import { parseReference } from "../../../cache/registry/reference.ts";
import { type MisbehavingServer, type Request, startServer } from "../../support/registry.ts";
import type { Registry } from "../../../cache/registry/contract.ts";

const signal = new AbortController().signal;

function client(): Registry {
  return openRegistry({ credentials: async () => null, sleep: async () => {} });
}

async function asking<T>(
  handle: (request: Request, response: ServerResponse) => void,
  work: (registry: Registry, server: MisbehavingServer) => Promise<T>,
): Promise<T> {
  await using server = await startServer(handle);
  return await work(client(), server);
}

describe("what is in a repository", () => {
  const app = ({ host }: MisbehavingServer) => parseReference(`${host}/a/app`);

  it("follows the pages of a list of tags, and does not leave the registry for them", async () => {
    const tags = await asking(
      ({ url }, response) => {
        const last = /[?&]last=(\w+)/.exec(url)?.[1];
        if (last === undefined) response.setHeader("link", '</v2/a/app/tags/list?n=2&last=b>; rel="next"');
        if (last === "b")
          response.setHeader("link", '<http://127.0.0.1:1/v2/x/tags/list?last=d>; rel="next"');
        const pages: Readonly<Record<string, unknown>> = { b: ["c", "d"], d: null };
        response.end(JSON.stringify({ name: "a/app", tags: last === undefined ? ["a", "b"] : pages[last] }));
      },
      (registry, server) => registry.tags(app(server), { signal }),
    );
    assert.deepEqual(tags, ["a", "b", "c", "d"]);
  });

  it("removes with the right to delete, and tells a refusal from a failure", async () => {
    const remove = (status: number) =>
      asking(
        ({ url, headers }, response) => {
          const isToken = url.startsWith("/token");
          if (!isToken && headers.authorization === undefined) {
            response.statusCode = 401;
            response.setHeader("www-authenticate", `Bearer realm="http://${headers.host}/token",service="s"`);
          } else if (!isToken) response.statusCode = status;
          response.end('{"token":"t"}');
        },
        async (registry, server) => {
          const done = await registry.remove(app(server), "1", { signal });
          return {
            done,
            asked: server.requests.map(({ method, url }) => `${method} ${decodeURIComponent(url)}`),
          };
        },
      );
    const { done, asked } = await remove(202);
    assert.equal(done, "removed");
    assert.ok(
      asked.some((one) => one.includes("scope=repository:a/app:delete")),
      asked.join("\n"),
    );
    assert.equal((await remove(405)).done, "unsupported");
    await assert.rejects(remove(404), /a\/app:1: not found/);
    await assert.rejects(remove(403), /delete access denied/);
  });
});

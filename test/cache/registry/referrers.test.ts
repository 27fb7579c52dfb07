// Lists of referrers from registries that have them, that do not, and that pretend to. distribution spec 1.1, "Listing Referrers".

import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { openRegistry } from "../../../cache/registry/client.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import { startServer } from "../../support/registry.ts";

const INDEX = "application/vnd.oci.image.index.v1+json";
const SUBJECT = digestOf("subject");
const signal = new AbortController().signal;

async function ask(handle: (url: string, response: ServerResponse) => void) {
  await using server = await startServer(({ url }, response) => handle(url, response));
  const registry = openRegistry({ credentials: async () => null, sleep: async () => {} });
  try {
    const found = await registry.referrers({ host: server.host, repository: "app" }, SUBJECT, { signal });
    return { found, asked: server.requests.map(({ url }) => url) };
  } finally {
    registry.close();
  }
}
const entry = (name: string) => ({
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  digest: digestOf(name),
  size: 1,
  artifactType: name,
});
const send = (
  response: ServerResponse,
  manifests: readonly object[],
  headers: Record<string, string> = {},
): void => {
  response.writeHead(200, { "content-type": INDEX, ...headers });
  response.end(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests }));
};

describe("referrers in a registry", () => {
  it("are listed page by page, at the place where the list began", async () => {
    const { found, asked } = await ask((url, response) =>
      url.includes("?")
        ? send(response, [entry("b")])
        : send(response, [entry("a")], { link: `<http://elsewhere.example/v2/x?last=a&n=1>; rel="next"` }),
    );
    assert.deepEqual(
      found?.map(({ artifactType }) => artifactType),
      ["a", "b"],
    );
    assert.deepEqual(asked, [`/v2/app/referrers/${SUBJECT}`, `/v2/app/referrers/${SUBJECT}?last=a&n=1`]);
  });

  it("are not listed by those that do not know the path, whatever they answer", async () => {
    for (const status of [400, 404, 405, 501])
      assert.equal((await ask((_, response) => response.writeHead(status).end())).found, null);
    const page = (_: string, response: ServerResponse) =>
      response.writeHead(200, { "content-type": "text/html" }).end("<html>");
    assert.equal((await ask(page)).found, null);
  });

  it("of a list without end, or that is none, end in an error", async () => {
    const endless = ask((_, response) => send(response, [], { link: '</v2/x?n=1>; rel="next"' }));
    await assert.rejects(endless, { code: "REGISTRY_PROTOCOL", message: /more than 16 pages/ });
    const none = ask((_, response) => response.writeHead(200, { "content-type": INDEX }).end("nothing"));
    await assert.rejects(none, { code: "IMAGE_INVALID", message: /the referrers of .*: not JSON/ });
  });
});

import { deepEqual } from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configuredProxies } from "../../bin/docker-proxies.ts";

describe("proxies of the docker configuration", () => {
  let dir = "";
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "proxies-"));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it("are build arguments in both spellings", () => {
    const proxies = { default: { httpProxy: "http://a:1", noProxy: "b", allProxy: "" } };
    writeFileSync(join(dir, "config.json"), JSON.stringify({ auths: {}, proxies }));
    deepEqual(Object.fromEntries(configuredProxies(dir)), {
      HTTP_PROXY: "http://a:1",
      http_proxy: "http://a:1",
      NO_PROXY: "b",
      no_proxy: "b",
    });
  });

  it("are none where there is no file, or none that can be read", () => {
    deepEqual([...configuredProxies(dir)], []);
    for (const text of ["not json", "[]", '{"proxies":1}', '{"proxies":{"default":{"httpProxy":1}}}']) {
      writeFileSync(join(dir, "config.json"), text);
      deepEqual([...configuredProxies(dir)], []);
    }
  });
});

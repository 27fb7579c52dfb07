import assert from "node:assert/strict";
import type { Session } from "../../solver/graph/request.ts";
import { gitCredentials } from "../../worker/sources/git.ts";

describe("git as a source", () => {
  const session = (given: {
    secrets?: Record<string, string>;
    agents?: Record<string, string>;
  }): Session => ({
    directory: (name) => assert.fail(name),
    secret: async (id) => {
      const text = given.secrets?.[id];
      return text === undefined ? null : Buffer.from(text);
    },
    sshSocket: (id) => given.agents?.[id] ?? null,
    credentials: async () => null,
  });

  it("asks the agent of --ssh default where the repository is behind ssh, and no other", async () => {
    const agents = { default: "/run/agent", other: "/run/other" };
    for (const remote of ["git@example.com:a/b", "ssh://git@example.com/a/b"]) {
      assert.deepEqual(await gitCredentials(remote, session({ agents })), { SSH_AUTH_SOCK: "/run/agent" });
      assert.deepEqual(await gitCredentials(remote, session({ agents: { other: "/run/other" } })), {});
    }
  });

  it("gives tokens to http hosts only, the host's own before the general one", async () => {
    const secrets = { GIT_AUTH_TOKEN: "any", "GIT_AUTH_TOKEN.example.com": "own" };
    const header = async (remote: string): Promise<string | undefined> =>
      (await gitCredentials(remote, session({ secrets }))).GIT_CONFIG_VALUE_0;
    const basic = (token: string): string =>
      `Authorization: basic ${Buffer.from(`x-access-token:${token}`).toString("base64")}`;
    assert.equal(await header("https://example.com/a/b.git"), basic("own"));
    assert.equal(await header("https://example.org/a/b.git"), basic("any"));
    assert.equal(await header("git@example.com:a/b"), undefined);
  });
});

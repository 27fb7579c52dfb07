import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Session } from "../../solver/graph/session.ts";
import { type GitAccess, gitCredentials, plainRemote, runGit } from "../../worker/sources/git-run.ts";
import { itAsRoot } from "../support/privileges.ts";
import { NO_SESSION } from "../support/session.ts";

describe("git as a source", () => {
  const session = (given: {
    secrets?: Record<string, string>;
    agents?: Record<string, string>;
  }): Session => ({
    ...NO_SESSION,
    secret: async (id) => {
      const text = given.secrets?.[id];
      return text === undefined ? null : Buffer.from(text);
    },
    sshSocket: async (id) => given.agents?.[id] ?? null,
  });

  /** As the Dockerfile frontend and BuildKit's client ask. */
  const USUAL: GitAccess = {
    ...{ headerSecret: "GIT_AUTH_HEADER", tokenSecret: "GIT_AUTH_TOKEN", agent: "default", knownHosts: "" },
  };
  const credentials = (remote: string, given: Session, access: Partial<GitAccess> = {}) =>
    gitCredentials({ remote, access: { ...USUAL, ...access } }, given, async (text) => `/of '${text}' 1%`);

  it("asks the agent it is told to where the repository is behind ssh, and no other", async () => {
    const agents = { default: "/run/agent", other: "/run/other" };
    for (const remote of ["git@example.com:a/b", "ssh://git@example.com/a/b"]) {
      assert.deepEqual(await credentials(remote, session({ agents })), { SSH_AUTH_SOCK: "/run/agent" });
      assert.deepEqual(await credentials(remote, session({ agents }), { agent: "other" }), {
        SSH_AUTH_SOCK: "/run/other",
      });
      assert.deepEqual(await credentials(remote, session({ agents: { other: "/run/other" } })), {});
      assert.deepEqual(await credentials(remote, session({ agents }), { agent: "" }), {});
    }
  });

  it("takes host keys from the lines a client gives, and from nothing else then", async () => {
    const { GIT_SSH_COMMAND: command = "" } = await credentials("git@h:a", session({}), {
      knownHosts: "h k",
    });
    const words = execFileSync("sh", ["-c", `printf '%s\\n' ${command}`], { encoding: "utf8" }).split("\n");
    assert.ok(words.includes(`UserKnownHostsFile="/of 'h k' 1%%"`), command);
    assert.ok(words.includes("StrictHostKeyChecking=yes"));
    assert.ok(words.includes("GlobalKnownHostsFile=/dev/null"));
  });

  it("is let in by the secrets that are named, those of the host first, and by none that are not", async () => {
    const secrets = { H: "Bearer h", T: "t", "T.example.com:8443": "own" };
    const header = async (remote: string, access: Partial<GitAccess>) =>
      (await credentials(remote, session({ secrets }), access)).GIT_CONFIG_VALUE_0;
    const names = { headerSecret: "H", tokenSecret: "T" };
    const own = `Authorization: basic ${Buffer.from("x-access-token:own").toString("base64")}`;
    assert.equal(await header("https://example.com:8443/a", names), own);
    assert.equal(await header("https://example.org/a", names), "Authorization: Bearer h");
    assert.equal(await header("https://example.org/a", { headerSecret: "", tokenSecret: "" }), undefined);
  });

  it("gives tokens to http hosts only, the host's own before the general one", async () => {
    const secrets = { GIT_AUTH_TOKEN: "any", "GIT_AUTH_TOKEN.example.com": "own" };
    const header = async (remote: string): Promise<string | undefined> =>
      (await credentials(remote, session({ secrets }))).GIT_CONFIG_VALUE_0;
    const basic = (token: string): string =>
      `Authorization: basic ${Buffer.from(`x-access-token:${token}`).toString("base64")}`;
    assert.equal(await header("https://example.com/a/b.git"), basic("own"));
    assert.equal(await header("https://example.org/a/b.git"), basic("any"));
    assert.equal(await header("git@example.com:a/b"), undefined);
  });

  itAsRoot("says which disk is full, not only what git says", async () => {
    const dir = mkdtempSync(join(tmpdir(), "git-full-"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=16k", "none", dir]);
    try {
      const place = { cwd: dir, signal: new AbortController().signal, credentials: {} };
      await assert.rejects(runGit(["init", "."], place), {
        code: "STORE_FULL",
        message: `git init failed: no space left on ${realpathSync(dir)} (the disk of the store)`,
      });
    } finally {
      execFileSync("umount", [dir]);
      rmSync(dir, { recursive: true });
    }
  });

  it("keeps passwords of addresses out of what git is called with", async () => {
    const remote = "https://me:p%40ss@example.com:8443/a/b.git";
    assert.equal(plainRemote(remote), "https://example.com:8443/a/b.git");
    assert.equal(plainRemote("ssh://git@example.com/a"), "ssh://git@example.com/a");
    assert.deepEqual(await credentials(remote, session({})), {
      GIT_CONFIG_COUNT: "2",
      GIT_CONFIG_KEY_0: "http.https://example.com:8443/.extraheader",
      GIT_CONFIG_VALUE_0: `Authorization: basic ${Buffer.from("me:p@ss").toString("base64")}`,
      GIT_CONFIG_KEY_1: "http.followRedirects",
      GIT_CONFIG_VALUE_1: "false",
    });
    const own = await credentials(remote, session({ secrets: { GIT_AUTH_HEADER: "Bearer x" } }));
    assert.equal(own.GIT_CONFIG_VALUE_0, "Authorization: Bearer x");
  });
});

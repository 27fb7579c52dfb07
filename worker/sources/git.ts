// git sources: a ref is pinned to a commit, the commit fetched alone and laid out as a layer. Uses the machine's git.

import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { BuildError, printable, redactUrl } from "../../solver/graph/error.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { CallContext, LayerId, Session } from "../../solver/graph/request.ts";
import type { Store } from "../../cache/store.ts";
import type { Pin } from "../worker.ts";

interface GitAddress {
  readonly remote: string;
  readonly ref: string; // "" is HEAD
  readonly subdir: string;
  readonly keepGitDir: boolean;
  readonly checksum: string; // wanted commit, or a prefix of it; "" any
}

/** Output of git kept for an error message. */
const GIT_OUTPUT_MAX_BYTES = 1 << 20;
const COMMIT = /^[0-9a-f]{40}$/;

/** git://HOST/PATH#REF:SUBDIR with git.* attributes, as LLB has it. */
function parseAddress(op: SourceOp): GitAddress {
  const hash = op.identifier.indexOf("#");
  const fragment = hash < 0 ? "" : op.identifier.slice(hash + 1);
  const colon = fragment.indexOf(":");
  const plain = hash < 0 ? op.identifier : op.identifier.slice(0, hash);
  return {
    remote: op.attrs["git.fullurl"] ?? plain.replace(/^git:\/\//, "https://"),
    ref: colon < 0 ? fragment : fragment.slice(0, colon),
    subdir: colon < 0 ? "" : fragment.slice(colon + 1),
    keepGitDir: op.attrs["git.keepgitdir"] === "true",
    checksum: op.attrs["git.checksum"] ?? "",
  };
}

/** Ref to commit. Throws SOURCE_FAILED with git's words. */
export async function pinGit(op: SourceOp, store: Store, context: CallContext): Promise<Pin> {
  const address = parseAddress(op);
  const { commit } = await resolveCommit(address, store, context);
  return { digest: pinDigest(address, commit), result: null };
}

function pinDigest(address: GitAddress, commit: string): Digest {
  return digestOf(JSON.stringify(["tsbuild.git.v1", commit, address.subdir, address.keepGitDir]));
}

async function resolveCommit(address: GitAddress, store: Store, context: CallContext): Promise<Commit> {
  let found: Commit;
  if (COMMIT.test(address.ref)) found = { commit: address.ref, refspecs: [address.ref] };
  else {
    checkArgument(address.remote);
    const wanted = address.ref === "" ? "HEAD" : address.ref;
    const run = openGit(address, store.tempDir(), context);
    const output = await run("ls-remote", "--", address.remote, wanted, `${wanted}^{}`);
    const chosen = chooseRef(output, wanted);
    if (chosen === null) {
      throw new BuildError(
        "SOURCE_FAILED",
        `repository ${redactUrl(address.remote)} does not contain ref ${wanted}, output: ${JSON.stringify(printable(output))}`,
      );
    }
    found = chosen;
  }
  const { commit } = found;
  if (address.checksum !== "" && !commit.startsWith(address.checksum)) {
    throw new BuildError(
      "CHECKSUM_MISMATCH",
      `expected checksum to match ${address.checksum}, got ${commit}`,
    );
  }
  return found;
}

/** A commit and how it is fetched: the names it shall have in a repository that is kept, as BuildKit leaves them. */
interface Commit {
  readonly commit: string;
  readonly refspecs: readonly string[];
}

/** Of the refs that end with the name: tags (what they point at) before branches, as BuildKit and git prefer them. */
function chooseRef(output: string, wanted: string): Commit | null {
  const refs = new Map<string, string>();
  for (const line of output.split("\n")) {
    const [commit, name] = line.split("\t");
    if (commit !== undefined && name !== undefined && COMMIT.test(commit)) refs.set(name, commit);
  }
  for (const name of [
    `refs/tags/${wanted}^{}`,
    `refs/tags/${wanted}`,
    `refs/heads/${wanted}`,
    `${wanted}^{}`,
    wanted,
  ]) {
    const commit = refs.get(name);
    if (commit === undefined) continue;
    const full = name.replace(/\^\{\}$/, "");
    const short = wanted.replace(/^refs\/(?:heads|tags)\//, "");
    if (wanted === "HEAD") return { commit, refspecs: [commit] };
    return {
      commit,
      refspecs: [
        `${full}:refs/heads/${short}`,
        ...(full.startsWith("refs/tags/") ? [`${full}:${full}`] : []),
      ],
    };
  }
  return null;
}

/** A layer with the tree of the commit (or a folder of it) in its root. */
export async function fetchGit(op: SourceOp, store: Store, context: CallContext): Promise<LayerId> {
  const address = parseAddress(op);
  const { commit, refspecs } = await resolveCommit(address, store, context);
  checkArgument(address.remote);
  await using active = store.layers.prepare();
  const work = mkdtempSync(join(store.tempDir(), "git-"));
  try {
    const run = openGit(address, work, context);
    await run("-c", "init.defaultBranch=master", "init", "-q");
    await run("remote", "add", "origin", address.remote);
    try {
      await run("fetch", "-q", "-u", "--depth=1", "--no-tags", "origin", ...refspecs);
    } catch (error) {
      if (context.signal.aborted || refspecs[0] !== commit) throw error;
      // A server that does not serve single commits: everything, then.
      await run("fetch", "-q", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*");
    }
    await run("-c", "advice.detachedHead=false", "checkout", "-q", commit);
    await run(
      "-c",
      "protocol.file.allow=user",
      "submodule",
      "update",
      "-q",
      "--init",
      "--recursive",
      "--depth=1",
    );
    const time = Number((await run("log", "-1", "--format=%ct", commit)).trim());
    store.records.put("git-time", commit, time);
    if (address.keepGitDir) {
      await run("reflog", "expire", "--all", "--expire=now");
      for (const name of ["FETCH_HEAD", "ORIG_HEAD"]) rmSync(join(work, ".git", name), { force: true });
    } else rmSync(join(work, ".git"), { recursive: true, force: true });
    const from = subdirectory(work, address.subdir);
    for (const name of readdirSync(from)) renameSync(join(from, name), join(active.upper, name));
    if (address.keepGitDir && from !== work) renameSync(join(work, ".git"), join(active.upper, ".git"));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const record = active.commit({
    unpacked: true,
    createdAtMs: Date.now(),
    description: `${redactUrl(address.remote)} ${commit.slice(0, 12)}`,
  });
  return record.id;
}

/** A directory of the checkout reached without links. */
function subdirectory(root: string, subdir: string): string {
  let path = root;
  for (const part of subdir.split("/")) {
    if (part === "" || part === ".") continue;
    path = join(path, part);
    const stat = part === ".." ? undefined : statSync(path, { throwIfNoEntry: false });
    if (stat === undefined || !stat.isDirectory()) {
      throw new BuildError(
        "SOURCE_FAILED",
        `subdir ${JSON.stringify(subdir)} is not a directory of the repository`,
      );
    }
  }
  return path;
}

/** An address must not be taken for an option, nor start a program of its choice. */
function checkArgument(remote: string): void {
  if (remote.startsWith("-") || /^ext::/.test(remote)) {
    throw new BuildError("SOURCE_FAILED", `not a git address: ${redactUrl(remote)}`);
  }
}

/** Time of the commit behind a git source, epoch seconds; the source must have been fetched. */
export async function gitTime(op: SourceOp, store: Store, context: CallContext): Promise<number> {
  const { commit } = await resolveCommit(parseAddress(op), store, context);
  const time = store.records.get<number>("git-time", commit);
  if (time === null) throw new BuildError("SOURCE_FAILED", `the time of commit ${commit} is not known`);
  return time;
}

type Git = (...args: string[]) => Promise<string>;

/** git in a directory, with the credentials of the asker's secrets (GIT_AUTH_TOKEN, GIT_AUTH_HEADER, maybe with ".HOST"). */
function openGit(address: GitAddress, cwd: string, context: CallContext): Git {
  let settings: Promise<Record<string, string>> | null = null;
  return async (...args) =>
    runGit(args, cwd, await (settings ??= gitCredentials(address.remote, context.session)), context);
}

/** Variables with which git is let in at `remote`: the agent of --ssh default, or for http(s) a header made of the asker's
 *  secrets, through the environment so that it stands in no list of processes (git-config(1), GIT_CONFIG_COUNT). */
export async function gitCredentials(remote: string, session: Session): Promise<Record<string, string>> {
  if (!/^https?:\/\//.test(remote)) {
    const agent = session.sshSocket("default");
    return agent === null ? {} : { SSH_AUTH_SOCK: agent };
  }
  const host = new URL(remote).hostname;
  const secret = async (name: string): Promise<string | null> => {
    const data = (await session.secret(`${name}.${host}`)) ?? (await session.secret(name));
    return data === null ? null : new TextDecoder().decode(data).trim();
  };
  const token = await secret("GIT_AUTH_TOKEN");
  const header =
    (await secret("GIT_AUTH_HEADER")) ??
    (token === null ? null : `basic ${Buffer.from(`x-access-token:${token}`).toString("base64")}`);
  if (header === null) return {};
  return {
    GIT_CONFIG_COUNT: "1",
    GIT_CONFIG_KEY_0: `http.${new URL(remote).origin}/.extraheader`,
    GIT_CONFIG_VALUE_0: `Authorization: ${header}`,
  };
}

/** Runs git without prompts, hooks of templates or the user's settings. Rejects with SOURCE_FAILED and git's last words. */
function runGit(
  args: readonly string[],
  cwd: string,
  settings: Readonly<Record<string, string>>,
  context: CallContext,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn("git", ["-c", "core.hooksPath=/dev/null", ...args], {
      cwd,
      signal: context.signal,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        HOME: cwd,
        GIT_CONFIG_NOSYSTEM: "1",
        GIT_TERMINAL_PROMPT: "0",
        GIT_SSH_COMMAND: "ssh -F /dev/null -o BatchMode=yes",
        LC_ALL: "C",
        ...settings,
      },
    });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (out.length < GIT_OUTPUT_MAX_BYTES) out += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err = (err + text).slice(-4000);
    });
    child.once("error", (error) => {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") {
        reject(
          new BuildError("SOURCE_FAILED", "git is not installed", {
            hint: "apt-get install git",
            cause: error,
          }),
        );
      } else reject(error);
    });
    child.once("close", (code) => {
      if (code === 0) resolve(out);
      else
        reject(
          new BuildError(
            "SOURCE_FAILED",
            `git ${args.find((arg) => /^[a-z-]+$/.test(arg)) ?? ""} failed: ${printable(redactUrl(err.trim()), 1000)}`,
          ),
        );
    });
  });
}

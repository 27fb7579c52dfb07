// Runs the machine's git on untrusted repositories: without settings of the user or of the repository, without
// prompts, and only with the protocols that sources may use.

import { dirname } from "node:path";
import { BuildError, printable, redactUrl } from "../../solver/graph/error.ts";
import type { Session } from "../../solver/graph/session.ts";
import { refusalOf } from "../../cache/disk-fault.ts";
import { runProgram } from "../../cache/program.ts";

/** Output of git that is kept; more is a fault of the server. */
const OUTPUT_MAX_BYTES = 16 << 20;
/** For one command of git, whatever the size of the repository. */
const TOTAL_MS = 60 * 60_000;
/** A server that sends less than 1 KiB a second for a minute is given up (git-config(1), http.lowSpeedLimit), and one that is
 *  silent over ssh (ssh_config(5), ServerAliveInterval). git:// has nothing of the kind, and only the total limit. */
const SLOWEST = ["-c", "http.lowSpeedLimit=1024", "-c", "http.lowSpeedTime=60"];
const SSH_SLOWEST = "-o ConnectTimeout=30 -o ServerAliveInterval=20 -o ServerAliveCountMax=3";
const SSH = `ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o UpdateHostKeys=no ${SSH_SLOWEST}`;
/** What sh says of a program that is not there, POSIX "Exit Status for Commands". */
const NOT_FOUND = 127;

export interface GitPlace {
  /** Where git runs; a descriptor stands for the very directory, whatever its name leads to meanwhile. */
  readonly cwd: string | number;
  readonly signal: AbortSignal;
  /** Variables that let git in: gitCredentials(). */
  readonly credentials: Readonly<Record<string, string>>;
  /** Proxies and authorities; left out: none. */
  readonly variables?: Readonly<Record<string, string>>;
  /** Repositories of ours on this machine are fetched from, and no others. */
  readonly isLocal?: boolean;
}

/** With what of the client git is let in; "": with nothing. */
export interface GitAccess {
  /** Names of secrets: a whole header, and a token. */
  readonly headerSecret: string;
  readonly tokenSecret: string;
  /** Id of an agent. */
  readonly agent: string;
  /** Lines of a known_hosts file, sshd(8); "": what is known on this machine. */
  readonly knownHosts: string;
}

/** Takes a piece of git's output; `false`: enough, git is ended and the rest not read. */
export type Sink = (piece: Buffer) => boolean;

/** Settings of the machine, the user and of a repository found above the directory must not be read: HOME is nowhere, since a
 *  checkout may hold a .gitconfig. Of ssh too nothing is used but the agent that was given: no key file of the user, no
 *  settings, and his known hosts are not changed. (threat model I2, S1) */
const ISOLATED = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/dev/null",
  XDG_CONFIG_HOME: "/dev/null",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_ATTR_NOSYSTEM: "1",
  GIT_TERMINAL_PROMPT: "0",
  // Also for submodules: no directory of this machine (file), no program (ext, fd, helpers of other names), git(1).
  GIT_ALLOW_PROTOCOL: "git:http:https:ssh",
  GIT_SSH_COMMAND: SSH,
  LC_ALL: "C",
} as const;

/** What git writes to its standard output, or "" when a sink takes it. Rejects with SOURCE_FAILED and git's last words. */
export async function runGit(args: readonly string[], place: GitPlace, sink?: Sink): Promise<string> {
  const { cwd, signal, credentials, variables = {}, isLocal = false } = place;
  // The modes of a checkout are those of the usual umask, whatever the user's is (threat model E11).
  const script = `umask 022; ${typeof cwd === "number" ? "cd -P /proc/self/fd/3 && " : ""}exec git "$@" 3<&-`;
  const command = ["-c", script, "git", "-c", "core.hooksPath=/dev/null", ...SLOWEST, ...args];
  const outcome = await runProgram("sh", command, {
    ...(typeof cwd === "number" ? { descriptor: cwd } : { cwd }),
    ...(sink === undefined ? {} : { sink }),
    signal,
    totalMs: TOTAL_MS,
    outputMaxBytes: OUTPUT_MAX_BYTES,
    env: {
      ...ISOLATED,
      ...(isLocal ? { GIT_ALLOW_PROTOCOL: "file" } : {}),
      ...(typeof cwd === "number" ? {} : { GIT_CEILING_DIRECTORIES: dirname(cwd) }),
      ...variables,
      ...credentials,
    },
  });
  const { end, code, output, complaint } = outcome;
  if ((end === "exit" && code === 0) || (end === "loud" && sink !== undefined))
    return output.toString("utf8");
  if (code === NOT_FOUND) {
    throw new BuildError("SOURCE_FAILED", "git is not installed", { hint: "apt-get install git" });
  }
  const name = args.find((arg) => /^[a-z-]+$/.test(arg)) ?? "";
  if (end === "loud") {
    throw new BuildError("LIMIT_EXCEEDED", `git ${name} printed more than ${OUTPUT_MAX_BYTES} bytes`);
  }
  // What the other side says of its own disk is passed on as it is.
  const own = new Error(complaint.replace(/^remote:.*$/gm, ""));
  const refusal = refusalOf(own, "store", typeof cwd === "number" ? `/proc/self/fd/${cwd}` : cwd);
  if (refusal !== null)
    throw new BuildError("STORE_FULL", `git ${name} failed: ${refusal.words}`, { hint: refusal.hint });
  const why =
    end === "late"
      ? `not finished within ${TOTAL_MS / 60_000} minutes`
      : complaint.trim() || (outcome.signal === null ? `exit code ${code}` : `killed by ${outcome.signal}`);
  const isRedirect = "GIT_CONFIG_COUNT" in credentials && /returned error: 30\d/.test(why);
  throw new BuildError("SOURCE_FAILED", `git ${name} failed: ${printable(redactUrl(why), 1000)}`, {
    hint: isRedirect
      ? "the server redirects, and credentials are not sent to another address: use the address it redirects to"
      : null,
  });
}

/** Variables with which git is let in at a remote: an agent of the client and the hosts it knows, or for http(s) a header made of its
 *  secrets, through the environment so that it stands in no list of processes (git-config(1), GIT_CONFIG_COUNT). knownHostsFile: makes
 *  one of its lines, and gives its path. */
export async function gitCredentials(
  { remote, access }: { readonly remote: string; readonly access: GitAccess },
  session: Session,
  knownHostsFile: (text: string) => Promise<string>,
): Promise<Record<string, string>> {
  if (!/^https?:\/\//.test(remote)) {
    const agent = access.agent === "" ? null : await session.sshSocket(access.agent);
    const known = access.knownHosts === "" ? null : await knownHostsFile(access.knownHosts);
    return {
      ...(agent === null ? {} : { SSH_AUTH_SOCK: agent }),
      ...(known === null ? {} : { GIT_SSH_COMMAND: `${SSH} ${knowing(known)}` }),
    };
  }
  const header = (await headerFor(remote, access, session)) ?? basicOf(remote);
  if (header === null) return {};
  return {
    GIT_CONFIG_COUNT: "2",
    GIT_CONFIG_KEY_0: `http.${new URL(remote).origin}/.extraheader`,
    GIT_CONFIG_VALUE_0: `Authorization: ${header}`,
    // git goes on with the header where the first answer sends it, another host too (threat model C5).
    GIT_CONFIG_KEY_1: "http.followRedirects",
    GIT_CONFIG_VALUE_1: "false",
  };
}

/** Options of ssh that take host keys from this file and no other. ssh reads the value as words with "%" in them, the shell before that. */
function knowing(file: string): string {
  const path = file.replaceAll("%", "%%");
  const quoted = `'UserKnownHostsFile="${path.replaceAll("'", `'\\''`)}"'`;
  return `-o ${quoted} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes`;
}

/** The client's secrets as BuildKit asks for them: those of the host before the general ones, a header before a token. */
async function headerFor(
  remote: string,
  { headerSecret, tokenSecret }: GitAccess,
  session: Session,
): Promise<string | null> {
  const { host, hostname } = new URL(remote);
  for (const suffix of [...new Set([`.${host}`, `.${hostname}`, ""])]) {
    for (const [name, isToken] of [
      [headerSecret, false],
      [tokenSecret, true],
    ] as const) {
      const data = name === "" ? null : await session.secret(`${name}${suffix}`);
      if (data === null) continue;
      const text = new TextDecoder().decode(data).trim();
      return isToken ? basic(`x-access-token:${text}`) : text;
    }
  }
  return null;
}

/** The address without the credentials an http(s) one may hold (a git one has no use for any): they would stand in lists of
 *  processes, in git's words and in a .git directory that is kept. gitCredentials() gives them to git. */
export function plainRemote(remote: string): string {
  return remote.replace(/^((?:https?|git):\/\/)[^/?#]*@/i, "$1");
}

function basicOf(remote: string): string | null {
  const { username, password } = new URL(remote);
  if (username === "" && password === "") return null;
  return basic(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`);
}

function basic(pair: string): string {
  return `basic ${Buffer.from(pair).toString("base64")}`;
}

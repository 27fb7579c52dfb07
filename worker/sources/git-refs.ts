// Which commit a git URL means: git.* attributes of the source op, and the refs reported by the server.

import { BuildError, printable, redactUrl } from "../../solver/graph/error.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import { cleanPath } from "../../cache/tree.ts";
import { refuse } from "./attributes.ts";
import { type GitAccess, plainRemote } from "./git-run.ts";

export interface GitAddress {
  readonly remote: string; // maybe with credentials
  readonly ref: string; // "" is the default branch
  readonly subdir: string;
  readonly keepGitDir: boolean;
  readonly submodules: boolean;
  readonly checksum: string; // wanted commit or tag object, or a prefix of it; "" any
  /** Files get the time of the commit. */
  readonly commitTimes: boolean;
  /** The checksum is what is fetched, and the server is not asked what the ref stands for. */
  readonly fetchByCommit: boolean;
  readonly access: GitAccess;
}

/** What a ref stands for. */
export interface Commit {
  /** The commit, or the tag object of an annotated tag. */
  readonly object: string;
  /** The commit as far as the server tells; the object where it does not. */
  readonly commit: string;
  /** Full name of the ref on the server; "": asked for by its digest. */
  readonly name: string;
  /** Names it has in a repository that is kept, as BuildKit leaves them. */
  readonly keptNames: readonly string[];
}

/** SHA-1 or SHA-256. */
const OBJECT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
/** Of a known_hosts file. */
const KNOWN_HOSTS_MAX_CHARS = 1 << 20;
/** The ways git is asked for; "ext::" and others would start programs of their choice. */
const TRANSPORT = /^(?:(?:git|https?|ssh):\/\/|[a-zA-Z0-9_][a-zA-Z0-9_-]*@[a-zA-Z0-9.][a-zA-Z0-9.-]*:)/i;

/** git://HOST/PATH#REF:SUBDIR with git.* attributes, as LLB has it. Throws SOURCE_FAILED for what must not reach git. */
export function parseAddress(op: SourceOp): GitAddress {
  const hash = op.identifier.indexOf("#");
  const fragment = hash < 0 ? "" : op.identifier.slice(hash + 1);
  const colon = fragment.indexOf(":");
  const plain = hash < 0 ? op.identifier : op.identifier.slice(0, hash);
  refuse(op.attrs, "git.sig.", "git.bundle", "git.checkoutbundle");
  const full = op.attrs["git.fullurl"];
  const address: GitAddress = {
    remote:
      full === undefined
        ? plain.replace(/^git:\/\//, "https://")
        : TRANSPORT.test(full) || full.includes("::") || full.startsWith("-")
          ? full
          : `https://${full}`,
    ref: colon < 0 ? fragment : fragment.slice(0, colon),
    // As BuildKit: ".." ends at the root of the repository.
    subdir: colon < 0 ? "" : cleanPath(fragment.slice(colon + 1)),
    keepGitDir: op.attrs["git.keepgitdir"] === "true",
    submodules: op.attrs["git.skipsubmodules"] !== "true",
    checksum: op.attrs["git.checksum"] ?? "",
    commitTimes: op.attrs["git.mtime"] === "commit",
    fetchByCommit: op.attrs["git.fetchbycommit"] === "true",
    access: {
      headerSecret: op.attrs["git.authheadersecret"] ?? "",
      tokenSecret: op.attrs["git.authtokensecret"] ?? "",
      agent: op.attrs["git.mountsshsock"] ?? "",
      knownHosts: op.attrs["git.knownsshhosts"] ?? "",
    },
  };
  if (address.access.knownHosts.length > KNOWN_HOSTS_MAX_CHARS)
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `git.knownsshhosts has more than ${KNOWN_HOSTS_MAX_CHARS} characters`,
    );
  const { remote, ref, checksum } = address;
  if (!TRANSPORT.test(remote)) throw failed(`not a git address: ${redactUrl(remote)}`);
  // It must not be taken for an option, nor be more than one line of anything.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/^-|[\u0000-\u0020\u007f]/.test(ref)) throw failed(`invalid git ref ${JSON.stringify(ref)}`); // oxlint-disable-line no-control-regex
  if (!/^[0-9a-fA-F]*$/.test(checksum)) {
    throw failed(`invalid checksum ${printable(checksum)} for Git URL, expected hex commit hash`);
  }
  return address;
}

/** What needs no server to be known: digests. null: ask it. Throws CHECKSUM_MISMATCH, SOURCE_FAILED. */
export function knownCommit({ ref, checksum, fetchByCommit }: GitAddress): Commit | null {
  if (OBJECT.test(ref)) return checked(digestCommit(ref, []), checksum);
  if (!fetchByCommit) return null;
  if (checksum === "") throw failed("fetch-by-commit requires a checksum or a commit SHA ref");
  if (!OBJECT.test(checksum)) {
    throw failed(`fetch-by-commit requires a full commit SHA checksum, got ${JSON.stringify(checksum)}`);
  }
  if (ref === "") return digestCommit(checksum, []);
  return digestCommit(checksum, [ref.startsWith("refs/") ? ref : `refs/heads/${ref}`]);
}

function digestCommit(object: string, keptNames: readonly string[]): Commit {
  return { object, commit: object, name: "", keptNames };
}

/** What git is asked for a ref. */
export function listArguments({ remote, ref }: GitAddress): string[] {
  const wanted = ref === "" ? "HEAD" : ref;
  return ["ls-remote", "--symref", "--", plainRemote(remote), wanted, `${wanted}^{}`];
}

/** The commit in git's answer. Throws SOURCE_FAILED, CHECKSUM_MISMATCH. */
export function chooseCommit({ remote, ref, checksum }: GitAddress, output: string): Commit {
  const refs = new Map<string, string>();
  let head: string | null = null;
  for (const line of output.split("\n")) {
    const [value = "", name = ""] = line.split("\t");
    if (OBJECT.test(value)) refs.set(name, value);
    else if (name === "HEAD") head = /^ref: (refs\/\S+)$/.exec(value)?.[1] ?? head;
  }
  // Branches before tags of the same name, as BuildKit has it; a full name means itself.
  const names =
    ref === "" || ref === "HEAD"
      ? ["HEAD"]
      : [`refs/${ref.replace(/^refs\//, "")}`, `refs/heads/${ref}`, `refs/tags/${ref}`];
  const name = names.find((one) => refs.has(one));
  const object = name === undefined ? undefined : refs.get(name);
  if (name === undefined || object === undefined) {
    const said = JSON.stringify(printable(output, 2000));
    const what = ref === "" ? "HEAD" : ref;
    throw new BuildError("SOURCE_FAILED", `repository does not contain ref ${what}, output: ${said}`, {
      hint: `look at the branches and tags of ${redactUrl(remote)}`,
    });
  }
  const full = name === "HEAD" ? (head ?? "") : name;
  const commit = refs.get(`${name}^{}`) ?? object;
  return checked(
    { object, commit, name: full, keptNames: keptNames(full, ref, commit !== object) },
    checksum,
  );
}

/** BuildKit fetches what it keeps by the name it was asked for, and git makes a branch of a short one. */
function keptNames(full: string, ref: string, isAnnotated: boolean): string[] {
  if (full === "") return [];
  if (isAnnotated || ref.startsWith("refs/")) return [full];
  const branch = `refs/heads/${ref === "" || ref === "HEAD" ? full.replace(/^refs\/heads\//, "") : ref}`;
  return full.startsWith("refs/tags/") ? [branch, full] : [branch];
}

function checked(found: Commit, checksum: string): Commit {
  const { object, commit } = found;
  if (object.startsWith(checksum) || commit.startsWith(checksum)) return found;
  const got = object === commit ? object : `${object} or ${commit}`;
  throw new BuildError("CHECKSUM_MISMATCH", `expected checksum to match ${checksum}, got ${got}`);
}

function failed(message: string): BuildError {
  return new BuildError("SOURCE_FAILED", message);
}

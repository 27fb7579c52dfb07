// The flags of `tsbuild run`, with the names and meaning of `docker run`, and their conversion to a RunRequest.

import { statSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { readGiven } from "./given-file.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { CommandFlags, ParsedFlags } from "./args.ts";
import type { RunRequest, Volume } from "./engine/request.ts";
import type { Environment } from "./engine/config.ts";
import { LIMIT_FLAGS, readLimits } from "./flags-limits.ts";
import { readOciRuntime, RUNTIME_FLAGS } from "./flags-runtime.ts";
import { parseCsv, parseHosts, parsePlatform, parseSize, parseUlimit } from "./flags-values.ts";
import { REGISTRY_FLAGS } from "./flags-registry.ts";

/** Flags of docker run that cannot be kept here: why, and what to do instead. */
const REFUSED: readonly (readonly [name: string, why: string, hint: string | null])[] = [
  ["privileged", "containers never get more privileges than the user", null],
  ["detach", "there is no daemon that could run it", null],
  [
    "publish",
    "ports cannot be published",
    "with --network=host the program listens on the host's own addresses",
  ],
  [
    "publish-all",
    "ports cannot be published",
    "with --network=host the program listens on the host's own addresses",
  ],
];

export const RUN_FLAGS: CommandFlags = {
  usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
  positionals: { min: 1, max: null },
  stopsAtPositional: true,
  usageExitCode: 125,
  flags: [
    ...REGISTRY_FLAGS,
    { name: "add-host", kind: "list", help: "Add a host to /etc/hosts (host:ip)" },
    { name: "detach", short: "d", kind: "bool", help: "" },
    { name: "entrypoint", kind: "string", help: "Overwrite the default ENTRYPOINT of the image" },
    { name: "env", short: "e", kind: "list", help: "Set environment variables" },
    { name: "env-file", kind: "list", help: "Read in a file of environment variables" },
    { name: "hostname", short: "h", kind: "string", help: "Container host name" },
    { name: "interactive", short: "i", kind: "bool", help: "Keep standard input open" },
    { name: "mount", kind: "list", help: "Attach a mount (type=bind|tmpfs,source=..,target=..[,readonly])" },
    { name: "name", kind: "string", help: "Assign a name to the container" },
    { name: "network", kind: "string", initial: '"default"', help: 'Network ("default", "host", "none")' },
    { name: "platform", kind: "string", help: "Platform of the image, if there are several" },
    { name: "privileged", kind: "bool", help: "" },
    { name: "publish", short: "p", kind: "list", help: "" },
    { name: "publish-all", short: "P", kind: "bool", help: "" },
    {
      name: "pull",
      kind: "string",
      initial: '"missing"',
      help: 'Pull the image before running ("always", "missing", "never")',
    },
    { name: "read-only", kind: "bool", help: "Mount the root file system as read only" },
    { name: "rm", kind: "bool", help: "Remove the container when it exits (always on)" },
    { name: "shm-size", kind: "string", value: "bytes", help: "Size of /dev/shm" },
    { name: "tmpfs", kind: "list", help: "Mount a tmpfs directory (path[:size=64m])" },
    { name: "tty", short: "t", kind: "bool", help: "Allocate a pseudo-TTY" },
    { name: "ulimit", kind: "list", value: "ulimit", help: "Ulimit options" },
    { name: "user", short: "u", kind: "string", help: "Username or UID (format: <name|uid>[:<group|gid>])" },
    { name: "volume", short: "v", kind: "list", help: "Bind mount a directory or file (host:path[:ro])" },
    { name: "workdir", short: "w", kind: "string", help: "Working directory inside the container" },
    ...LIMIT_FLAGS,
    ...RUNTIME_FLAGS,
  ],
};

/** Reads and checks the flags. Throws USAGE, and MOUNT_INVALID for mounts that cannot be. */
export async function readRunFlags(
  flags: ParsedFlags,
  env: Environment,
  cwd: string,
  signal: AbortSignal,
): Promise<RunRequest> {
  for (const [name, why, hint] of REFUSED) {
    if (flags.has(name) && flags.one(name) !== "false")
      throw new BuildError("USAGE", `--${name} is not supported: ${why}`, { exitCode: 125, hint });
  }
  const [image = "", ...args] = flags.positionals;
  const mounts = flags.all("mount").map((text) => readMount(text, cwd));
  const shmSize = flags.one("shm-size");
  const platform = flags.one("platform");
  const fileEnv: string[] = [];
  for (const path of flags.all("env-file"))
    fileEnv.push(...(await readEnvFile(resolve(cwd, path), env, signal)));
  return Object.freeze({
    image,
    args,
    entrypoint: flags.one("entrypoint"),
    env: [...fileEnv, ...flags.all("env").flatMap((text) => withValue(text, env))],
    volumes: [
      ...flags.all("volume").map((text) => readVolume(text, cwd)),
      ...mounts.filter((mount) => "source" in mount),
    ],
    workdir: flags.one("workdir"),
    user: flags.one("user"),
    hostname: flags.one("hostname"),
    name: flags.one("name"),
    network: oneOf(flags, "network", ["default", "host", "none"], "default"),
    readonlyRoot: flags.bool("read-only"),
    interactive: flags.bool("interactive"),
    tty: flags.bool("tty"),
    platform: platform === null ? null : parsePlatform(platform),
    pull: oneOf(flags, "pull", ["missing", "always", "never"], "missing"),
    extraHosts: await parseHosts(flags.all("add-host")),
    shmSizeBytes: shmSize === null ? null : parseSize(shmSize, "--shm-size"),
    ulimits: flags.all("ulimit").map(parseUlimit),
    cgroupParent: flags.one("cgroup-parent") ?? "",
    limits: readLimits(flags, 125),
    ociRuntime: readOciRuntime(flags, env, cwd),
    tmpfs: [...flags.all("tmpfs").map(readTmpfs), ...mounts.filter((mount) => "sizeBytes" in mount)],
  });
}

function oneOf<const T extends string>(flags: ParsedFlags, name: string, known: readonly T[], initial: T): T {
  const text = flags.one(name);
  if (text === null || text === "") return initial;
  const found = known.find((word) => word === text);
  if (found === undefined) {
    throw new BuildError("USAGE", `--${name}=${text} is not supported`, {
      hint: `use ${known.join(", ")}`,
      exitCode: 125,
    });
  }
  return found;
}

/** NAME=value, or NAME with the value it has here; a NAME that has none is left out. */
function withValue(text: string, env: Environment): string[] {
  if (text.includes("=")) {
    if (text.startsWith("="))
      throw new BuildError("USAGE", `invalid environment variable: ${text}`, { exitCode: 125 });
    return [text];
  }
  const value = env[text];
  return value === undefined ? [] : [`${text}=${value}`];
}

/** One variable a line; empty lines and lines that begin with # are comments. docker run, --env-file */
async function readEnvFile(path: string, env: Environment, signal: AbortSignal): Promise<string[]> {
  let text: string;
  try {
    text = (await readGiven(path, ENV_FILE_MAX_BYTES, signal)).toString("utf8");
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new BuildError("USAGE", `--env-file: cannot read ${path}`, { cause, exitCode: 125 });
  }
  return text
    .split(/\r?\n/)
    .map((line) => line.trimStart())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .flatMap((line) => withValue(line, env));
}

/** More than a kernel takes as the environment of one program. */
const ENV_FILE_MAX_BYTES = 4 << 20;

/** host:path[:ro|rw]; the mount must be of something that is here. */
function readVolume(text: string, cwd: string): Volume {
  const parts = text.split(":");
  const [source = "", target = "", options = ""] = parts;
  if (parts.length < 2 || parts.length > 3) throw badMount(text, "the form is HOST:PATH[:ro]");
  const words = options.split(",").filter((word) => word !== "");
  const unknown = words.find(
    (word) => !["ro", "rw", "z", "Z", "cached", "delegated", "consistent"].includes(word),
  );
  if (unknown !== undefined) throw badMount(text, `unknown option "${unknown}"`);
  if (!/^[./~]/.test(source))
    throw badMount(text, "named volumes are not supported; start the host path with / or ./");
  return checkedVolume(text, resolve(cwd, source), target, words.includes("ro"));
}

function checkedVolume(text: string, source: string, target: string, readonly: boolean): Volume {
  if (!isAbsolute(target)) throw badMount(text, `target "${target}" is not an absolute path`);
  try {
    statSync(source);
  } catch {
    throw badMount(text, `${source} does not exist`); // docker makes an empty directory, as root: not wanted here
  }
  return { source, target, readonly };
}

function readMount(text: string, cwd: string): Volume | { target: string; sizeBytes: number | null } {
  let type = "volume";
  let source = "";
  let target = "";
  let readonly = false;
  let sizeBytes: number | null = null;
  for (const field of parseCsv(text)) {
    const at = field.indexOf("=");
    const key = (at < 0 ? field : field.slice(0, at)).toLowerCase();
    const value = at < 0 ? "true" : field.slice(at + 1);
    if (key === "type") type = value;
    else if (key === "source" || key === "src") source = value;
    else if (key === "target" || key === "dst" || key === "destination") target = value;
    else if (key === "readonly" || key === "ro") readonly = value === "true" || value === "1";
    else if (key === "tmpfs-size") sizeBytes = parseSize(value);
    else throw badMount(text, `unknown option "${key}"`);
  }
  if (type === "bind") return checkedVolume(text, resolve(cwd, source), target, readonly);
  if (type !== "tmpfs") throw badMount(text, `mounts of type "${type}" are not supported`);
  if (!isAbsolute(target)) throw badMount(text, `target "${target}" is not an absolute path`);
  return { target, sizeBytes };
}

function readTmpfs(text: string): { target: string; sizeBytes: number | null } {
  const [target = "", options = ""] = text.split(":");
  if (!isAbsolute(target)) throw badMount(text, `target "${target}" is not an absolute path`);
  const size = options.split(",").find((word) => word.startsWith("size="));
  return { target, sizeBytes: size === undefined ? null : parseSize(size.slice(5)) };
}

function badMount(text: string, why: string): BuildError {
  return new BuildError("MOUNT_INVALID", `invalid mount "${text}": ${why}`, { exitCode: 125 });
}

// What a definition from outside can get wrong within an op, each with a sentence: later code relies on it. Indices into inputs are checked
// where an op is decoded (llb.ts).

import { isIP } from "node:net";
import { BuildError, printable } from "./error.ts";
import type { ChownOpt, ExecMount, ExecOp, FileAction, FileOp, Op } from "./op.ts";

const INT32_MAX = 2 ** 31 - 1;
const UINT32_MAX = 2 ** 32 - 1;

/** Throws USAGE unless the fields of the op make sense together. */
export function checkOp(op: Op): void {
  switch (op.kind) {
    case "exec":
      return checkExec(op);
    case "file":
      return checkFile(op);
    case "passthrough":
      if (op.id === "") throw invalid("a passthrough step has no id");
      if (op.outputs.length === 0) throw invalid("a passthrough step has no outputs");
      return;
    case "source":
      checkText(op.identifier, "the identifier of a source");
      return;
    case "merge":
    case "diff":
    case "build":
      return;
  }
}

/** Is there an output of that number? */
export function hasOutput(op: Op, output: number): boolean {
  switch (op.kind) {
    case "exec":
      return op.mounts.some((mount) => mount.kind === "bind" && mount.output === output);
    case "file":
      return op.actions.some((action) => action.output === output);
    case "passthrough":
      return output < op.outputs.length;
    case "source":
    case "merge":
    case "diff":
    case "build":
      return output === 0;
  }
}

function checkExec(op: ExecOp): void {
  if (op.args.length === 0) throw invalid("a command has no arguments");
  for (const arg of op.args) checkText(arg, "an argument of a command");
  for (const entry of op.env) {
    checkText(entry, "an environment variable");
    if (entry.indexOf("=") <= 0) throw invalid(`the environment variable ${shown(entry)} is not NAME=VALUE`);
  }
  checkText(op.cwd, "a working directory");
  checkText(op.user, "a user");
  checkText(op.cgroupParent, "a cgroup parent");
  if (!/^[^\s\0]*$/.test(op.hostname)) throw invalid(`${shown(op.hostname)} is no host name`);
  for (const { host, ip } of op.extraHosts) {
    if (!/^[^\s\0#]+$/.test(host)) throw invalid(`${shown(host)} is no host name`);
    if (isIP(ip) === 0) throw invalid(`the host ${shown(host)} has no IP address: ${shown(ip)}`);
  }
  for (const { id, name } of op.secretEnv) {
    if (id === "") throw invalid(`the secret of the environment variable ${shown(name)} has no id`);
    if (!/^[^=\0]+$/.test(name)) throw invalid(`${shown(name)} is no name of an environment variable`);
  }
  for (const value of Object.values(op.proxyEnv ?? {})) checkText(value, "a proxy");
  for (const { name } of op.devices) checkText(name, "a device");
  checkMounts(op.mounts);
}

function checkMounts(mounts: readonly ExecMount[]): void {
  const roots = mounts.filter(({ target }) => target === "/");
  const [root] = roots;
  if (root === undefined) throw invalid("a command has no root file system");
  if (roots.length > 1) throw invalid("a command has more than one root file system");
  if (root.kind !== "bind") throw invalid(`a mount of the type ${root.kind} cannot be the root file system`);
  const outputs = new Set<number>();
  for (const mount of mounts) {
    checkText(mount.target, "the target of a mount");
    if (mount.target === "") throw invalid("a mount has no target");
    if ("selector" in mount) checkText(mount.selector, "the source path of a mount");
    if (mount.kind === "tmpfs" && (mount.sizeBytes ?? 0) < 0)
      throw invalid(`a tmpfs cannot have ${mount.sizeBytes} bytes`);
    if (mount.kind === "secret" || mount.kind === "ssh") {
      if (mount.kind === "secret" && mount.id === "") throw invalid("a secret mount has no id");
      checkOwnerId(mount.uid);
      checkOwnerId(mount.gid);
      checkMode(mount.mode);
    }
    if (mount.kind !== "bind") continue;
    if (mount.output !== null && outputs.size === outputs.add(mount.output).size)
      throw invalid(`two mounts are output ${mount.output} of a command`);
    if (mount.contentCache === "on" && !isContentSafe(mount)) {
      throw invalid(
        `the mount at ${shown(mount.target)} cannot be cached by content: the command may change what it does not see`,
      );
    }
  }
}

/** What a command leaves of a part that it may write to has the rest of the input with it, which its content says nothing of. */
function isContentSafe({ output, readonly, selector }: ExecMount & { readonly kind: "bind" }): boolean {
  return output === null || readonly || /^\/*$/.test(selector);
}

function checkFile(op: FileOp): void {
  if (op.actions.length === 0) throw invalid("a file step has no actions");
  const outputs = new Set<number>();
  for (const action of op.actions) {
    if (action.output !== null && outputs.size === outputs.add(action.output).size)
      throw invalid(`two actions of a file step are its output ${action.output}`);
    checkAction(action);
  }
  if (outputs.size === 0) throw invalid("a file step has no outputs");
  for (let index = 0; index < outputs.size; index++)
    if (!outputs.has(index)) throw invalid(`a file step has no output ${index}`);
}

function checkAction(action: FileAction): void {
  const paths = action.kind === "copy" ? [action.src, action.dest] : [action.path];
  for (const path of paths) checkText(path, `a path to ${action.kind}`);
  if (action.kind === "rm") return;
  checkOwner(action.owner);
  switch (action.kind) {
    case "copy":
      if (action.mode !== null) checkMode(action.mode);
      for (const list of [action.includePatterns, action.excludePatterns, action.requiredPaths])
        for (const text of list) checkText(text, "a pattern of a copy");
      return;
    case "symlink":
      checkText(action.target, "the text of a link");
      if (action.target === "") throw invalid(`the link ${shown(action.path)} leads nowhere`);
      return;
    case "mkdir":
    case "mkfile":
      checkMode(action.mode);
  }
}

function checkOwner(owner: ChownOpt | null): void {
  for (const who of [owner?.user, owner?.group]) {
    if (who?.kind === "id") checkOwnerId(who.id);
    else if (who?.kind === "name") checkText(who.name, "the name of an owner");
  }
}

function checkOwnerId(id: number): void {
  if (id < 0 || id > UINT32_MAX) throw invalid(`${id} is no user or group id`);
}

/** Bits of the file type may stand above those of the mode: clients send what stat(2) said. */
function checkMode(mode: number): void {
  if (mode < 0 || mode > INT32_MAX) throw invalid(`${mode} is no file mode`);
}

/** The kernel's texts end at a zero byte: what is behind it would not be seen. */
function checkText(text: string, what: string): void {
  if (text.includes("\0")) throw invalid(`${what} has a zero byte in it: ${shown(text)}`);
}

function shown(text: string): string {
  return JSON.stringify(printable(text, 100));
}

function invalid(message: string): BuildError {
  return new BuildError("USAGE", `not a valid LLB op: ${message}`);
}

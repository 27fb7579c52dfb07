// Cache keys: names of results before they exist. What is part of a key, op by op, and how it is hashed.
//
// A key is a hash over the op and one *part* for each input. A part identifies the input in one of three ways:
//   key:K#N       by definition: output N of the step whose definition key is K
//   layers:A,B    by result: its layers, known from a record or from running it
//   content:D     by content: digest of the paths the op reads of it
// The definition key takes inputs by definition (live files by content, they have no other name), the result key by
// result, the content key by content where the op reads only parts of an input. The parts include their kind, so keys
// of the three kinds share one name space, and equal parts are equal keys.
//
// Never in a key: values of secrets, notes and names of vertices, proxy settings, addresses of extra hosts, the
// cgroup a command runs in, credentials and hints of sources.

import { hash } from "node:crypto";
import type { Digest } from "./graph/digest.ts";
import type {
  BuildOp,
  DiffOp,
  ExecMount,
  ExecOp,
  FileAction,
  FileOp,
  MergeOp,
  Op,
  PassthroughOp,
  Platform,
  SourceOp,
} from "./graph/op.ts";
import { formatPlatform } from "./graph/op.ts";
import type { Result } from "./graph/request.ts";

declare const brand: unique symbol;
/** 64 hex digits that name a result. */
export type CacheKey = string & { readonly [brand]: "CacheKey" };

/** What an op, or one input of it, adds to a key. */
export type KeyPart = string;

/** Changes whenever the meaning of a key does; older records are then never asked for. */
const SCHEMA = "tsbuild.key.v1";

/** Fields of an op that count, by name; each value in full, so that a record can explain itself. */
export type Ingredients = Readonly<Record<string, string>>;

/** Key of an op over the parts of its inputs. `op` is opText(). */
export function keyOf(op: string, parts: readonly KeyPart[]): CacheKey {
  let text = framed(SCHEMA) + framed(op);
  for (const part of parts) text += framed(part);
  return hash("sha256", text, "hex") as CacheKey;
}

/** What counts of an op by itself, as one text. It is hashed with the inputs, once, not before: a graph of 1,000 cached
 *  vertices is decided in hashes. */
export function opText(ingredients: Ingredients): string {
  let text = "";
  for (const name in ingredients) text += framed(name) + framed(ingredients[name] as string);
  return text;
}

/** Name of an op whatever its inputs are. */
export function opName(op: string): string {
  return hash("sha256", framed(SCHEMA) + framed(op), "hex");
}

/** Name of a step whatever its inputs are, under which the layers it made are remembered: what it makes next may be equal to
 *  one of them. A copy makes of other files another layer, so what it read (parts by content) is part of its name, and nothing
 *  is compared in vain; but not when it unpacks archives or changes modes by a rule. */
export function outputName(op: Op, text: string, parts: readonly KeyPart[]): string {
  const asRead =
    op.kind === "file" &&
    op.actions.every((action) => action.kind !== "copy" || (action.modeStr === "" && !action.attemptUnpack));
  return keyOf(text, ["outputs", ...(asRead ? parts.filter(isContentPart) : [])]);
}

/** A field behind its length: no two lists of fields give the same text. */
function framed(field: string): string {
  return `${field.length}:${field}`;
}

/** Part of an input that is named by how it is made. */
export function definitionPart(key: CacheKey, output: number): KeyPart {
  return `key:${key}#${output}`;
}

/** Part of an input that is named by what it is; `definition` is its other name, for files that are no layers. */
export function resultPart(result: Result, definition: KeyPart): KeyPart {
  return result.kind === "layers" ? `layers:${result.layers.join(",")}` : definition;
}

/** Part of an input that is named by what the op reads of it. */
export function contentPart(digest: Digest): KeyPart {
  return `content:${digest}`;
}

/** Is the input named by content? In the parts of a definition key: it is live files. */
export function isContentPart(part: KeyPart): boolean {
  return part.startsWith("content:");
}

/** Part of a source that was pinned. */
export function pinPart(digest: Digest): KeyPart {
  return `pin:${digest}`;
}

/** What counts of an op, without its inputs. */
export function ingredientsOf(op: Op, platform: Platform | null): Ingredients {
  switch (op.kind) {
    case "source":
      return { op: "source", ...sourceIngredients(op, platform) };
    case "exec":
      return {
        op: "exec",
        platform: platform === null ? "" : formatPlatform(platform),
        ...execIngredients(op),
      };
    case "file":
      return { op: "file", ...fileIngredients(op) };
    case "merge":
      return { op: "merge", ...mergeIngredients(op) };
    case "diff":
      return { op: "diff", ...diffIngredients(op) };
    case "build":
      return { op: "build", ...buildIngredients(op) };
    case "passthrough":
      return { op: "passthrough", ...passthroughIngredients(op) };
  }
}

/** The fields of an op, each said to count; one that is added to the op does not compile until it is judged here. */
type Counted<T, Ignored extends string = never> = Readonly<
  Record<Exclude<keyof T & string, "kind" | Ignored>, string>
>;

/** Attributes of sources that change how bytes are had, not which: who asks, with which credentials, how it is shown, what is
 *  compared with the pin; and those the pin has in it already, such as the number of an image's layers. */
const SOURCE_HINTS: ReadonlySet<string> = new Set([
  "git.checksum",
  "git.fetchbycommit",
  "git.authheadersecret",
  "git.authtokensecret",
  "git.knownsshhosts",
  "git.mountsshsock",
  "http.authheadersecret",
  "http.checksum",
  "image.checksum",
  "image.layerlimit",
  "image.recordtype",
  "image.resolvemode",
  "local.differ",
  "local.session",
  "local.sharedkeyhint",
  "local.unique",
  "oci.layerlimit",
  "oci.session",
  "oci.store",
]);

/** The pin names the bytes; what else shapes the tree made of them counts here. */
function sourceIngredients(op: SourceOp, platform: Platform | null): Ingredients {
  const scheme = op.identifier.slice(0, op.identifier.indexOf("://"));
  const rest = op.identifier.slice(scheme.length + 3);
  const hasAddress = scheme === "git" && op.attrs["git.keepgitdir"] === "true"; // .git/config
  const attrs = Object.entries(op.attrs)
    .filter(([name]) => !SOURCE_HINTS.has(name) && (name !== "git.fullurl" || hasAddress))
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  let place = op.identifier;
  if (scheme === "docker-image" || scheme === "oci-layout") place = "docker-image"; // equal layers are equal images
  if (scheme.endsWith("+blob")) place = "blob"; // the pin has its digest and name
  if (scheme === "http" || scheme === "https") place = "http"; // the pin has the name of the file, too
  if (scheme === "git" && !hasAddress) {
    // url#ref:subdir: the commit is pinned, the directory inside it is not; .git alone remembers the address.
    const fragment = rest.includes("#") ? rest.slice(rest.indexOf("#") + 1) : "";
    place = `git ${fragment.includes(":") ? fragment.slice(fragment.indexOf(":") + 1) : ""}`;
  }
  return { place, attrs: JSON.stringify(attrs), platform: platform === null ? "" : formatPlatform(platform) };
}

function execIngredients(op: ExecOp): Counted<ExecOp, "proxyEnv" | "cgroupParent"> {
  return {
    args: JSON.stringify(op.args),
    env: JSON.stringify(op.env),
    cwd: op.cwd,
    user: op.user,
    extraHosts: JSON.stringify(op.extraHosts.map(({ host }) => host)), // as BuildKit: addresses change, names do not
    hostname: op.hostname,
    ulimits: JSON.stringify(op.ulimits.map(({ name, soft, hard }) => [name, soft, hard])),
    validExitCodes: JSON.stringify(op.validExitCodes),
    mounts: JSON.stringify(op.mounts.map(mountFields)),
    network: op.network,
    security: op.security,
    secretEnv: JSON.stringify(op.secretEnv.map(({ id, name, optional }) => [id, name, optional])),
    devices: JSON.stringify(op.devices.map(({ name, optional }) => [name, optional])),
  };
}

function mountFields(mount: ExecMount): readonly (string | number | boolean | null)[] {
  const { kind, target } = mount;
  switch (kind) {
    case "bind":
      return [kind, target, mount.input, mount.selector, mount.readonly, mount.output];
    case "cache":
      return [kind, target, mount.input, mount.selector, mount.readonly, mount.id, mount.sharing];
    case "tmpfs":
      return [kind, target, mount.sizeBytes];
    case "secret":
    case "ssh":
      return [kind, target, mount.id, mount.uid, mount.gid, mount.mode, mount.optional];
  }
}

function fileIngredients(op: FileOp): Counted<FileOp> {
  return { actions: JSON.stringify(op.actions.map(actionFields)) };
}

/** All fields, in a fixed order: an action is data through and through. File bytes stand as their digest. */
function actionFields(action: FileAction): readonly unknown[] {
  return Object.entries(action)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([name, value]) => [name, fieldValue(value)]);
}

function fieldValue(value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return hash("sha256", value, "hex");
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([name, inner]) => [name, fieldValue(inner)]);
}

function mergeIngredients(op: MergeOp): Counted<MergeOp> {
  return { inputs: JSON.stringify(op.inputs) };
}

function diffIngredients(op: DiffOp): Counted<DiffOp> {
  return { lower: JSON.stringify(op.lower), upper: JSON.stringify(op.upper) };
}

function buildIngredients(op: BuildOp): Counted<BuildOp> {
  const sorted = (entries: readonly (readonly [string, unknown])[]): string =>
    JSON.stringify([...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
  return {
    builder: String(op.builder),
    inputs: sorted(Object.entries(op.inputs)),
    attrs: sorted(Object.entries(op.attrs)),
  };
}

function passthroughIngredients(op: PassthroughOp): Counted<PassthroughOp> {
  return { id: op.id, outputs: JSON.stringify(op.outputs) };
}

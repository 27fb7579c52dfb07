// --signature-policy FILE: policy.json as podman, skopeo and CRI-O have it. containers-policy.json(5). Unknown fields are errors there, and here: what
// is not understood would be a hole.

import type { KeyObject } from "node:crypto";
import { dirname, resolve } from "node:path";
import { parseReference } from "../cache/registry/reference.ts";
import { readPublicKey } from "../exporters/signature/keys.ts";
import { BuildError, printable } from "../solver/graph/error.ts";
import type { CommandContext } from "./command.ts";
import {
  canonicalScope,
  type Requirement,
  type SignaturePolicy,
  type SignedIdentity,
} from "./engine/signature-policy.ts";
import { JsonFault, plainValue, readJson } from "./engine/strict-json.ts";
import { readNamed } from "./signature-keys.ts";

const POLICY_MAX_BYTES = 1 << 20;
const KEY_MAX_BYTES = 64 << 10;
const SCOPES_MAX = 10_000;
const KEYS_MAX = 64;

type Context = Pick<CommandContext, "cwd" | "signal">;
type Fields = Readonly<Record<string, unknown>>;

/** Throws FILE_INVALID with the place in the file, also for keys that it names. */
export async function readSignaturePolicy(file: string, { cwd, signal }: Context): Promise<SignaturePolicy> {
  const path = resolve(cwd, file);
  const text = (await readNamed(file, path, POLICY_MAX_BYTES, signal)).toString("utf8");
  const json = parseJson(text, file);
  const reading: Reading = { file, directory: dirname(path), signal };
  const top = objectOf(json, "the policy", reading, ["default", "transports"]);
  const transports = new Map<string, ReadonlyMap<string, readonly Requirement[]>>();
  let count = 0;
  for (const [transport, scopes] of Object.entries(
    objectOf(top["transports"] ?? {}, "transports", reading),
  )) {
    const own = new Map<string, readonly Requirement[]>();
    for (const [scope, list] of Object.entries(objectOf(scopes, `transports.${transport}`, reading))) {
      if (++count > SCOPES_MAX) throw invalid(reading, "transports", `more than ${SCOPES_MAX} scopes`);
      const at = `transports.${transport}[${JSON.stringify(printable(scope, 100))}]`;
      const requirements = await requirementsOf(list, at, reading);
      const key = transport === "docker" ? canonicalScope(scope) : scope;
      // Two spellings of one scope: all of both have to be met.
      own.set(key, [...(own.get(key) ?? []), ...requirements]);
    }
    transports.set(transport, own);
  }
  return { file, initial: await requirementsOf(top["default"], "default", reading), transports };
}

/** What stands twice in an object would count once, and nobody knows which. Throws FILE_INVALID with the line. */
function parseJson(text: string, file: string): unknown {
  try {
    return plainValue(readJson(text));
  } catch (cause) {
    if (!(cause instanceof JsonFault)) throw cause;
    throw new BuildError("FILE_INVALID", `${file}:${cause.line}: ${printable(cause.message, 300)}`, {
      cause,
    });
  }
}

interface Reading {
  readonly file: string;
  /** Paths in the file that are not absolute begin here. */
  readonly directory: string;
  readonly signal: AbortSignal;
}

async function requirementsOf(value: unknown, at: string, reading: Reading): Promise<readonly Requirement[]> {
  if (!Array.isArray(value) || value.length === 0)
    throw invalid(reading, at, "a list of at least one requirement is expected");
  const requirements: Requirement[] = [];
  for (const [index, one] of value.entries())
    requirements.push(await requirementOf(one, value.length === 1 ? at : `${at}[${index}]`, reading));
  return requirements;
}

async function requirementOf(value: unknown, at: string, reading: Reading): Promise<Requirement> {
  const type = objectOf(value, at, reading)["type"];
  switch (type) {
    case "insecureAcceptAnything":
    case "reject":
      objectOf(value, at, reading, ["type"]);
      return { kind: type };
    case "sigstoreSigned":
      return await sigstoreSigned(value, at, reading);
    // Files for podman have such scopes for other images.
    case "signedBy":
    case "signedBaseLayer":
      return { kind: "unsupported", what: `the requirement "${type}"${type === "signedBy" ? " (GPG)" : ""}` };
    default:
      throw invalid(reading, at, `unknown type ${printable(JSON.stringify(type) ?? "none", 60)}`);
  }
}

const KEY_FIELDS = ["keyPath", "keyPaths", "keyData", "keyDatas"];
const UNSUPPORTED_FIELDS = [
  "fulcio",
  "pki",
  "rekorPublicKeyPath",
  "rekorPublicKeyPaths",
  "rekorPublicKeyData",
  "rekorPublicKeyDatas",
];

async function sigstoreSigned(value: unknown, at: string, reading: Reading): Promise<Requirement> {
  const fields = objectOf(value, at, reading, [
    "type",
    "signedIdentity",
    ...KEY_FIELDS,
    ...UNSUPPORTED_FIELDS,
  ]);
  const identity = identityOf(fields["signedIdentity"], `${at}.signedIdentity`, reading);
  const unsupported = UNSUPPORTED_FIELDS.find((name) => fields[name] !== undefined);
  if (unsupported !== undefined)
    return { kind: "unsupported", what: `sigstoreSigned with ${JSON.stringify(unsupported)}` };
  const given = KEY_FIELDS.filter((name) => fields[name] !== undefined);
  const [name] = given;
  if (name === undefined || given.length > 1)
    throw invalid(reading, at, `exactly one of ${KEY_FIELDS.join(", ")} is expected`);
  const texts = textsOf(fields[name], `${at}.${name}`, reading);
  const keys: KeyObject[] = [];
  for (const text of texts) {
    const shown = `${reading.file}: ${at}.${name}`;
    if (name.startsWith("keyData")) {
      keys.push(readPublicKey(Buffer.from(text, "base64"), shown));
      continue;
    }
    const path = resolve(reading.directory, text);
    keys.push(
      readPublicKey(
        await readNamed(`${shown}: ${text}`, path, KEY_MAX_BYTES, reading.signal),
        `${shown}: ${text}`,
      ),
    );
  }
  return { kind: "sigstoreSigned", keys, identity };
}

function identityOf(value: unknown, at: string, reading: Reading): SignedIdentity {
  if (value === undefined || value === null) return { kind: "matchRepoDigestOrExact" };
  const type = objectOf(value, at, reading)["type"];
  const names = (...fields: string[]): readonly string[] => {
    const object = objectOf(value, at, reading, ["type", ...fields]);
    return fields.map((field) => textOf(object[field], `${at}.${field}`, reading));
  };
  switch (type) {
    case "matchExact":
    case "matchRepoDigestOrExact":
    case "matchRepository":
      names();
      return { kind: type };
    case "exactReference": {
      const [text = ""] = names("dockerReference");
      const { tag, digest, name } = parsed(text, `${at}.dockerReference`, reading);
      if (tag === null && digest === null)
        throw invalid(reading, `${at}.dockerReference`, "a tag or digest is expected");
      return { kind: "exactReference", reference: name };
    }
    case "exactRepository": {
      const [text = ""] = names("dockerRepository");
      const { tag, digest, name } = parsed(text, `${at}.dockerRepository`, reading);
      if (tag !== null || digest !== null)
        throw invalid(reading, `${at}.dockerRepository`, "a name without tag and digest is expected");
      return { kind: "exactRepository", repository: name };
    }
    case "remapIdentity": {
      const [prefix = "", signedPrefix = ""] = names("prefix", "signedPrefix");
      return { kind: "remapIdentity", prefix, signedPrefix };
    }
    default:
      throw invalid(reading, at, `unknown type ${printable(JSON.stringify(type) ?? "none", 60)}`);
  }
}

function parsed(text: string, at: string, reading: Reading) {
  try {
    const { host, repository, tag, digest } = parseReference(text);
    const suffix = `${tag === null ? "" : `:${tag}`}${digest === null ? "" : `@${digest}`}`;
    return { tag, digest, name: `${host}/${repository}${suffix}` };
  } catch (cause) {
    throw invalid(reading, at, (cause as Error).message, cause);
  }
}

/** `known`: the only fields it may have; left out: any. */
function objectOf(value: unknown, at: string, reading: Reading, known?: readonly string[]): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid(reading, at, "an object is expected");
  const unknown = known === undefined ? undefined : Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw invalid(reading, at, `unknown field ${JSON.stringify(printable(unknown, 60))}`);
  return value as Fields;
}

function textOf(value: unknown, at: string, reading: Reading): string {
  if (typeof value !== "string" || value === "") throw invalid(reading, at, "a text is expected");
  return value;
}

function textsOf(value: unknown, at: string, reading: Reading): readonly string[] {
  if (!Array.isArray(value)) return [textOf(value, at, reading)];
  if (value.length === 0 || value.length > KEYS_MAX)
    throw invalid(reading, at, `1 to ${KEYS_MAX} keys are expected`);
  return value.map((one) => textOf(one, at, reading));
}

function invalid({ file }: Reading, at: string, problem: string, cause?: unknown): BuildError {
  return new BuildError("FILE_INVALID", `${file}: ${at}: ${problem}`, {
    cause,
    hint: "its form is that of podman and skopeo: containers-policy.json(5)",
  });
}

// Keys of signatures as flags name them: a file, or env://NAME as cosign has it; and the password of an encrypted one.

import type { KeyObject } from "node:crypto";
import { resolve } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import type { FlagSpec, ParsedFlags } from "./args.ts";
import type { CommandContext } from "./command.ts";
import { readGiven } from "./given-file.ts";

type Context = Pick<CommandContext, "config" | "cwd" | "signal">;

const PASSWORD_MAX_BYTES = 4096;
/** Of cosign, that others keep keys in. */
const ELSEWHERE = /^(?:awskms|gcpkms|azurekms|hashivault|k8s|kms|pkcs11|gitlab|github):\/\//;

/** Flags about registries that cosign has, with what to do instead. */
export const REGISTRY_FLAGS_OF_COSIGN: Readonly<Record<string, string>> = {
  "allow-insecure-registry": "use --insecure-registry HOST",
  "allow-http-registry": "use --insecure-registry HOST",
  "registry-username": "use 'tsbuild login'",
  "registry-password": "use 'tsbuild login'",
  "registry-token": "use 'tsbuild login'",
  "registry-cacert": "use --cert-dir DIR",
  "k8s-keychain": "use 'tsbuild login'",
};

export const PASSWORD_FILE_FLAG: FlagSpec = {
  name: "password-file",
  kind: "string",
  value: "file",
  help: "Password of the key (default: $COSIGN_PASSWORD, or asked for on a terminal)",
};

/** The private key of `--key`. `passwordFile`: null: none is named. Throws USAGE, FILE_INVALID. */
export async function readSigningKey(
  text: string,
  passwordFile: string | null,
  context: Context,
): Promise<KeyObject> {
  const { readPrivateKey } = await import("../exporters/signature/keys.ts");
  return await readPrivateKey(await keyBytes(text, context), text, () =>
    passwordOf(passwordFile, "Enter password for private key: ", context),
  );
}

/** Public keys of `--key`, one or more. Throws USAGE, FILE_INVALID. */
export async function readVerifyingKeys(
  texts: readonly string[],
  context: Context,
): Promise<readonly KeyObject[]> {
  const { readPublicKey } = await import("../exporters/signature/keys.ts");
  const keys: KeyObject[] = [];
  for (const text of texts) keys.push(readPublicKey(await keyBytes(text, context), text));
  return keys;
}

async function keyBytes(text: string, { config, cwd, signal }: Context): Promise<Uint8Array> {
  const { KEY_MAX_BYTES } = await import("../exporters/signature/keys.ts");
  const name = /^env:\/\/(.*)$/s.exec(text)?.[1];
  if (name !== undefined) {
    const value = config.env[name];
    if (value === undefined || value === "")
      throw new BuildError("USAGE", `--key ${text}: the environment variable ${name} is not set`);
    return Buffer.from(value);
  }
  if (ELSEWHERE.test(text))
    throw new BuildError("USAGE", `--key ${text}: keys in services are not supported`, {
      hint: "use a file, or env://NAME",
    });
  return await readNamed(text, resolve(cwd, text), KEY_MAX_BYTES, signal);
}

/** Reads a file that a flag names, with an error that names it. Throws FILE_INVALID, LIMIT_EXCEEDED. */
export async function readNamed(
  shown: string,
  path: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Buffer> {
  try {
    return await readGiven(path, maxBytes, signal);
  } catch (cause) {
    if (signal.aborted || cause instanceof BuildError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    const why =
      code === "ENOENT" ? "no such file" : code === "EACCES" ? "permission denied" : (cause as Error).message;
    throw new BuildError("FILE_INVALID", `${shown}: ${why}`, { cause });
  }
}

/** From the file, the environment (an empty one is one), or the terminal; null: from nowhere. */
export async function passwordOf(
  file: string | null,
  question: string,
  { config, cwd, signal }: Context,
): Promise<Uint8Array | null> {
  if (file !== null) {
    const bytes = await readNamed(file, resolve(cwd, file), PASSWORD_MAX_BYTES, signal);
    return Buffer.from(bytes.toString("utf8").replace(/\r?\n$/, ""));
  }
  const known = config.env["COSIGN_PASSWORD"];
  if (known !== undefined) return Buffer.from(known);
  if (!process.stdin.isTTY) return null;
  const { ask } = await import("./prompt.ts");
  return Buffer.from(await ask(question, { signal, hidden: true }));
}

/** `-a key=value`, repeated or joined with commas as cosign has it. Throws USAGE. */
export function readAnnotations(flags: ParsedFlags): Readonly<Record<string, string>> {
  return annotationsIn(
    flags.all("annotations").flatMap((text) => text.split(",")),
    "--annotations",
  );
}

/** Throws USAGE. */
export function annotationsIn(pairs: readonly string[], flag: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const equals = pair.indexOf("=");
      if (equals <= 0)
        throw new BuildError("USAGE", `${flag}: ${JSON.stringify(pair)} is not of the form key=value`);
      return [pair.slice(0, equals), pair.slice(equals + 1)];
    }),
  );
}

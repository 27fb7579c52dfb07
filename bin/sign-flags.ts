// --sign key=FILE,…: how what a build exports is signed.

import type { Signing } from "../exporters/signature/contract.ts";
import { booleanIn } from "../exporters/attestation/grammar.ts";
import { BuildError, printable } from "../solver/graph/error.ts";
import type { CommandContext } from "./command.ts";
import { parseCsv } from "./flags-values.ts";
import { annotationsIn, readSigningKey } from "./signature-keys.ts";

const EXAMPLE = "for example --sign key=cosign.key,attestations=true";

/** One for each flag, with its key. Throws USAGE, FILE_INVALID. */
export async function readSignFlags(
  values: readonly string[],
  context: Pick<CommandContext, "config" | "cwd" | "signal">,
): Promise<readonly Signing[]> {
  const signings: Signing[] = [];
  for (const text of values) signings.push(await signingOf(text, context));
  return signings;
}

async function signingOf(
  text: string,
  context: Pick<CommandContext, "config" | "cwd" | "signal">,
): Promise<Signing> {
  const texts = new Map<string, string>();
  const annotations: string[] = [];
  for (const field of parseCsv(text)) {
    const [name = "", value] = field.split(/=(.*)/s);
    if (value === undefined)
      throw new BuildError("USAGE", `--sign: invalid value ${JSON.stringify(printable(field, 100))}`, {
        hint: EXAMPLE,
      });
    const annotation = /^annotation\.(.+)$/s.exec(name)?.[1];
    if (annotation !== undefined) annotations.push(`${annotation}=${value}`);
    else texts.set(name.trim().toLowerCase(), value);
  }
  const take = (name: string): string | null => {
    const value = texts.get(name) ?? null;
    texts.delete(name);
    return value;
  };
  const flag = (name: string): boolean => {
    const value = take(name);
    const parsed = value === null ? false : booleanIn(value);
    if (parsed !== null) return parsed;
    throw new BuildError("USAGE", `--sign: invalid value ${JSON.stringify(value)} for ${name}`, {
      hint: "use true or false",
    });
  };
  const [key, passwordFile, identity] = [take("key"), take("password-file"), take("identity")];
  const how = {
    recursive: flag("recursive"),
    attestations: flag("attestations"),
    referrers: flag("referrers"),
    annotations: annotationsIn(annotations, "--sign"),
    identity: identity || null,
  };
  const [unknown] = texts.keys();
  if (unknown !== undefined)
    throw new BuildError("USAGE", `--sign: unknown attribute ${JSON.stringify(printable(unknown, 60))}`, {
      hint: "attributes are key, password-file, attestations, recursive, referrers, identity, annotation.NAME",
    });
  if (key === null || key === "") throw new BuildError("USAGE", "--sign needs a key", { hint: EXAMPLE });
  return { key: await readSigningKey(key, passwordFile, context), ...how };
}

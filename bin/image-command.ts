// Shared by the commands of "tsbuild image": flags, addresses, and the progress display.

import type { Reference } from "../cache/registry/reference.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Platform } from "../solver/graph/op.ts";
import type { FlagSpec, ParsedFlags } from "./args.ts";
import type { CommandContext } from "./command.ts";
import type { ImageAddress, ImageTools } from "./engine/images/contract.ts";
import type { Environment } from "./engine/config.ts";
import { REGISTRY_FLAGS } from "./flags-registry.ts";
import { progressFlag } from "./flags-common.ts";
import { progressMode } from "./progress.ts";
import { transfer } from "./transfer.ts";

/** Of all of them. */
export const IMAGE_FLAGS: readonly FlagSpec[] = [...REGISTRY_FLAGS, progressFlag("quiet")];

/** Of those that choose among the images of an index. */
export function platformFlag(help: string): FlagSpec {
  return { name: "platform", short: "p", kind: "list", value: "platform", help };
}

/** Platforms of --platform, which may be repeated or hold several with commas. Throws USAGE. */
export async function platformsOf(flags: ParsedFlags): Promise<readonly Platform[]> {
  const { parsePlatform } = await import("./flags-values.ts");
  return flags
    .all("platform")
    .flatMap((text) => text.split(","))
    .filter((text) => text !== "")
    .map(parsePlatform);
}

/** The only platform of --platform; null: none is given. Throws USAGE. */
export async function onePlatform(flags: ParsedFlags): Promise<Platform | null> {
  const [platform, ...more] = await platformsOf(flags);
  if (more.length > 0)
    throw new BuildError("USAGE", "--platform: this command takes one platform", { hint: "give it once" });
  return platform ?? null;
}

/** A repository of a registry, without a tag. Throws USAGE, REFERENCE_INVALID. */
export async function repositoryOf(text: string): Promise<Reference> {
  const { parseReference } = await import("../cache/registry/reference.ts");
  const reference = parseReference(text.replace(/^docker:\/\//, ""));
  if (reference.tag === null && reference.digest === null) return reference;
  throw new BuildError("USAGE", `${text}: give the repository without a tag or digest`);
}

/** SOURCE_DATE_EPOCH in milliseconds; null: it is not set. Throws USAGE. */
export function epochMs(env: Environment): number | null {
  const text = env.SOURCE_DATE_EPOCH ?? "";
  if (text === "") return null;
  if (!/^\d{1,11}$/.test(text))
    throw new BuildError("USAGE", `invalid SOURCE_DATE_EPOCH: ${JSON.stringify(text)}`, {
      hint: "seconds since 1970 are expected",
    });
  return Number(text) * 1000;
}

/** Where images are, from the words of the user. Throws USAGE, REFERENCE_INVALID. */
export async function addressOf(text: string, { cwd }: CommandContext): Promise<ImageAddress> {
  const { parseImageAddress } = await import("./engine/images/address.ts");
  return parseImageAddress(text, cwd);
}

/** The same, but plain names are of registries. Throws USAGE, REFERENCE_INVALID. */
export async function registryAddress(text: string, { cwd }: CommandContext): Promise<ImageAddress> {
  const { parseRegistryAddress } = await import("./engine/images/address.ts");
  return parseRegistryAddress(text, cwd);
}

/** Where an image goes. Throws USAGE, REFERENCE_INVALID. */
export async function targetOf(text: string, { cwd }: CommandContext): Promise<ImageAddress> {
  const { parseImageTarget } = await import("./engine/images/address.ts");
  return parseImageTarget(text, cwd);
}

/** Of a command that makes an image of another one: where both are, and the platforms of --platform. Throws USAGE, REFERENCE_INVALID. */
export async function transferOf(
  source: string,
  destination: string,
  flags: ParsedFlags,
  context: CommandContext,
): Promise<{
  readonly from: ImageAddress;
  readonly to: ImageAddress;
  readonly platforms: readonly Platform[];
}> {
  const [from, to, platforms] = await Promise.all([
    addressOf(source, context),
    targetOf(destination, context),
    platformsOf(flags),
  ]);
  return { from, to, platforms };
}

/** Does the work with the image tools; prints errors in the form of a failed step. Returns null when it failed. */
export async function withImages<T>(
  title: string,
  flags: ParsedFlags,
  context: CommandContext,
  work: (tools: ImageTools) => Promise<T>,
): Promise<T | null> {
  const mode = progressMode(flags.one("progress") ?? "quiet", context.config.env);
  return await transfer("Copying", mode, context, (engine, options) => engine.images(title, options, work));
}

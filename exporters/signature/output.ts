// Signatures of what a build exports: beside the image in the repository before its names are there, or in the layout it is written to.

import { identityOf } from "./payload.ts";
import { parseReference, type Reference } from "../../cache/registry/reference.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { Assembled } from "../assembled.ts";
import type { ExportDeps, OutputContext } from "../contract.ts";
import type { Document } from "../image.ts";
import type { ArchiveOutput, Output } from "../output-grammar.ts";
import { during } from "../shown.ts";
import { layoutPlace, registryPlace, type SignaturePlace } from "./place.ts";
import type { Signing } from "./contract.ts";
import { signImage } from "./sign.ts";

/** Refuses to sign what has no place or no name for it, or is not there. `isAttested`: there will be attestations. Throws OUTPUT_INVALID. */
export function checkSigning(
  outputs: readonly Output[],
  signings: readonly Signing[],
  isAttested: boolean,
): void {
  if (!isAttested && signings.some(({ attestations }) => attestations))
    throw new BuildError("OUTPUT_INVALID", "--sign: there are no attestations to sign", {
      hint: "add --provenance=true or --sbom=true",
    });
  let isAny = false;
  for (const output of outputs) {
    if (output.kind === "image" && output.push) isAny = true;
    if (!isSignedArchive(output)) continue;
    isAny = true;
    if (!output.tar && output.dest?.kind === "client")
      throw new BuildError("OUTPUT_INVALID", "layouts that the client writes cannot be signed", {
        hint: "use tar=true",
      });
    if (output.image.names.length === 0 && signings.some(({ identity }) => identity === null))
      throw new BuildError("OUTPUT_INVALID", "an image without a name cannot be signed", {
        hint: "add -t NAME, or --sign key=…,identity=NAME",
      });
  }
  if (!isAny)
    throw new BuildError("OUTPUT_INVALID", "--sign: there is no output with a place for signatures", {
      hint: "add --push or -o type=oci,dest=FILE",
    });
}

export function isSignedArchive(output: Output): output is ArchiveOutput {
  return output.kind === "archive" && output.format === "oci";
}

/** Signs an image whose blobs are in a repository. Throws REGISTRY_* and as signImage. */
export async function signPushed(
  assembled: Assembled,
  repository: Reference,
  signings: readonly Signing[],
  deps: Pick<ExportDeps, "store" | "registry">,
  context: OutputContext,
): Promise<void> {
  const there = registryPlace(await deps.registry(), repository, { signal: context.signal });
  const own = placeOf(assembled, deps);
  const place: SignaturePlace = {
    ...there,
    manifest: async (name) => (await own.manifest(name)) ?? (await there.manifest(name)),
    // Statements are read here; of signatures that are there before the registry has the bytes.
    blob: (descriptor, maxBytes) => (own.has(descriptor) ? own : there).blob(descriptor, maxBytes),
    referrers: async (digest) => [...(await own.referrers(digest)), ...(await there.referrers(digest))],
  };
  await signAll(place, assembled, identityOf(repository), signings, context);
}

/** An image that is about to be written to an archive, with its signatures. */
export async function withSignatures(
  assembled: Assembled,
  { image: { names } }: ArchiveOutput,
  signings: readonly Signing[],
  deps: Pick<ExportDeps, "store">,
  context: OutputContext,
): Promise<Assembled> {
  const place = placeOf(assembled, deps);
  await signAll(place, assembled, identityIn(names), signings, context);
  return place.assembled();
}

/** Signs an image that was written to a layout; what others have signed there stays. Throws as signImage. */
export async function signWritten(
  path: string,
  assembled: Assembled,
  { image: { names } }: ArchiveOutput,
  signings: readonly Signing[],
  context: OutputContext,
): Promise<void> {
  await signAll(layoutPlace(path, context), assembled, identityIn(names), signings, context);
}

/** Of an image with several names the first is signed. */
function identityIn([name]: readonly string[]): string {
  return name === undefined ? "" : identityOf(parseReference(name));
}

async function signAll(
  place: SignaturePlace,
  { top: { descriptor } }: Assembled,
  identity: string,
  signings: readonly Signing[],
  context: OutputContext,
): Promise<void> {
  await during(context, `signing ${identity}@${descriptor.digest}`, async () => {
    for (const signing of signings) await signImage(place, descriptor.digest, identity, signing);
  });
}

interface AssembledPlace extends SignaturePlace {
  has(descriptor: Descriptor): boolean;
  /** The image with all that was put beside it. */
  assembled(): Assembled;
}

/** An image that is nowhere yet. */
function placeOf(assembled: Assembled, { store }: Pick<ExportDeps, "store">): AssembledPlace {
  const referrers = [...(assembled.referrers ?? [])];
  const tagged = new Map((assembled.tagged ?? []).map((one) => [one.tag, one]));
  const own = new Map<string, Document>();
  const add = (...documents: readonly Document[]): void =>
    documents.forEach((one) => own.set(one.descriptor.digest, one));
  add(assembled.top, ...assembled.images.map(({ manifest }) => manifest));
  for (const { manifest, blobs } of referrers) add(manifest, ...blobs);
  return {
    shown: "the image",
    async manifest(name) {
      return tagged.get(name)?.manifest ?? own.get(name) ?? null;
    },
    has: ({ digest }) => own.has(digest) || store.content.has(digest),
    async blob({ digest }, maxBytes) {
      return own.get(digest)?.bytes ?? store.content.read(digest, maxBytes);
    },
    async referrers(digest) {
      return referrers.flatMap(({ subject, manifest }) => (subject === digest ? [manifest.descriptor] : []));
    },
    async update(tag, change) {
      const next = change(tagged.get(tag)?.manifest.bytes ?? null);
      if (next === null) return;
      const { blobs, manifest } = next;
      add(manifest, ...blobs);
      const before = tagged.get(tag)?.blobs ?? [];
      tagged.set(tag, { tag, manifest, blobs: [...before, ...blobs] });
    },
    async putReferrer(referrer) {
      add(referrer.manifest, ...referrer.blobs);
      referrers.push(referrer);
    },
    assembled: () => ({ ...assembled, referrers, tagged: [...tagged.values()] }),
  };
}

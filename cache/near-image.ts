// When no registry has an image: similar images in the local store. A typo in a local name, or an image that is here for
// another platform, is then not mistaken for a network error.

import { BuildError } from "../solver/graph/error.ts";
import { nearestImage } from "../solver/graph/nearest.ts";
import { formatPlatform, type Platform } from "../solver/graph/op.ts";
import { IMAGE_SPACE, isNameless } from "./image-record.ts";
import { familiarReference, parseReference } from "./registry/reference.ts";
import type { ImageRecord, Store } from "./contract.ts";

/**
 * `error`, which ended the search for `name` (normalized, with a tag or digest), with what the store has said before it; as it is
 * when the store has nothing of the kind. `isSkipped`: the store was not asked, because of --pull.
 */
export function withLocalImages(
  error: unknown,
  store: Store,
  name: string,
  platform: Platform,
  { isSkipped }: { readonly isSkipped: boolean },
): unknown {
  if (!(error instanceof BuildError)) return error;
  const found = whatIsHere(store, name, formatPlatform(platform), isSkipped);
  if (found === null) return error;
  return new BuildError(error.code, `${found.has}; ${error.message}`, { cause: error, hint: found.hint });
}

function whatIsHere(
  store: Store,
  name: string,
  platform: string,
  isSkipped: boolean,
): { readonly has: string; readonly hint: string } | null {
  const wanted = familiar(name);
  const record = store.records.get<ImageRecord>(IMAGE_SPACE, name);
  if (record !== null) {
    const platforms = Object.keys(record.layers);
    const has = `${wanted} is in the local store`;
    if (platforms.some((one) => one === platform || one.startsWith(`${platform}/`))) {
      return isSkipped
        ? { has: `${has}, but was not used`, hint: "without --pull, the local image is used" }
        : { has: `${has}, but its layers are missing`, hint: "build or pull it again" };
    }
    const only = platforms.join(", ");
    return {
      has: `${has} for ${only} only, not for ${platform}`,
      hint: `build or pull it for ${platform}, or use --platform ${platforms[0]}`,
    };
  }
  const repository = repositoryOf(wanted);
  const others = namesIn(store).filter((one) => one.startsWith(`${repository}:`));
  const near = others.length > 0 ? others : [nearName(store, name)].filter((one) => one !== null);
  if (near.length === 0) return null;
  const shown = near.slice(0, NAMES_SHOWN).join(", ");
  const more = near.length > NAMES_SHOWN ? ` and ${near.length - NAMES_SHOWN} more` : "";
  return {
    has: `${wanted} is not in the local store, which has ${shown}${more}`,
    hint: others.length > 0 ? "use one of these tags, or pull the one you want" : `did you mean ${shown}?`,
  };
}

/** The local name whose repository is nearest to that of `name` (normalized): that both are ":latest" says nothing. null: none is near. */
export function nearName(store: Store, name: string): string | null {
  const byRepository = new Map(namesIn(store).map((one) => [repositoryOf(one), one]));
  const near = nearestImage(repositoryOf(familiar(name)), [...byRepository.keys()]);
  return near === null ? null : (byRepository.get(near) ?? null);
}

function namesIn(store: Store): readonly string[] {
  return [...store.records.entries<ImageRecord>(IMAGE_SPACE)].flatMap(({ key }) =>
    isNameless(key) ? [] : [familiar(key)],
  );
}

function repositoryOf(shown: string): string {
  return shown.replace(/(?::[^:/]+)?(?:@.*)?$/, "");
}

const NAMES_SHOWN = 5;

function familiar(name: string): string {
  return familiarReference(parseReference(name));
}

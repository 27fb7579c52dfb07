// Package URLs of images, as BuildKit writes them. https://github.com/package-url/purl-spec; moby/buildkit util/purl/image.go.

import { familiarReference, parseReference, withDefaultTag } from "../../cache/registry/reference.ts";
import { formatPlatform, type Platform } from "../../solver/graph/op.ts";

/** An image reference as a package URL: "pkg:docker/alpine@3.20?platform=linux%2Famd64". `type`: "docker" for images of registries, "oci" for
 *  those of layouts. `qualifiers`: beside digest and platform, in this order. Throws REFERENCE_INVALID. */
export function imagePurl(
  type: "docker" | "oci",
  reference: string,
  platform: Platform | null,
  qualifiers: readonly (readonly [string, string])[] = [],
): string {
  const named = withDefaultTag(parseReference(reference));
  const path = familiarReference({ ...named, tag: null, digest: null });
  const all = [
    ...(named.digest === null ? [] : [["digest", named.digest] as const]),
    ...(platform === null ? [] : [["platform", formatPlatform(platform)] as const]),
    ...qualifiers,
  ];
  const version = named.tag === null ? "" : `@${escapeSegment(named.tag)}`;
  const query = all.map(([key, value]) => `${key}=${escapeSegment(value)}`).join("&");
  const name = path.split("/").map(escapeAll).join("/");
  return `pkg:${type}/${name}${version}${query === "" ? "" : `?${query}`}`;
}

/** Go's url.PathEscape: what may stand in one segment of a path stays. */
function escapeSegment(text: string): string {
  return encodeURIComponent(text)
    .replace(/%(?:24|26|2B|3A|3D|40)/g, (code) => decodeURIComponent(code))
    .replace(/[!'()*]/g, hex);
}

/** Go's url.QueryEscape. */
function escapeAll(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, hex)
    .replaceAll("%20", "+");
}

function hex(sign: string): string {
  return `%${sign.charCodeAt(0).toString(16).toUpperCase()}`;
}

// Addresses of images: names of registries and of the local store, OCI layouts, archives. The words are those of skopeo and of named
// contexts of buildx.

import { resolve } from "node:path";
import { formatReference, parseReference, withDefaultTag } from "../../../cache/registry/reference.ts";
import { BuildError, printable } from "../../../solver/graph/error.ts";
import type { ImageAddress } from "./contract.ts";

const SCHEMES = /^(docker|docker-image|local|oci-layout|oci|oci-archive|docker-archive):(\/\/)?(.*)$/s;

/** Reads an address; paths are relative to `cwd`. Throws USAGE, REFERENCE_INVALID. */
export function parseImageAddress(text: string, cwd: string): ImageAddress {
  const [, scheme, slashes, rest = ""] = SCHEMES.exec(text) ?? [];
  switch (scheme) {
    case undefined:
      refuseOtherPlaces(text);
      return { kind: "name", name: text, text };
    case "docker":
    case "docker-image":
      if (slashes === undefined) return { kind: "name", name: text, text }; // a repository "docker" with a tag
      return { kind: "registry", reference: withDefaultTag(parseReference(rest)), text };
    case "local":
      if (rest === "") throw invalid(text, "the form is local:NAME[:TAG]");
      return { kind: "local", name: rest, text };
    case "oci-layout":
    case "oci": {
      const { path, name } = pathAndName(rest, /^\w[\w.-]{0,127}$/);
      if (path === "") throw invalid(text, "the form is oci-layout://PATH[:TAG][@DIGEST]");
      return { kind: "layout", path: resolve(cwd, path), name, text };
    }
    default: {
      const format = scheme === "oci-archive" ? "oci" : "docker";
      const { path, name } = format === "oci" ? pathAndName(rest, /^\w[\w.-]{0,127}$/) : archiveName(rest);
      if (path === "")
        throw invalid(
          text,
          format === "oci"
            ? "the form is oci-archive:FILE[:TAG]"
            : "the form is docker-archive:FILE[:NAME[:TAG]]",
        );
      return { kind: "archive", format, path: path === "-" ? null : resolve(cwd, path), name, text };
    }
  }
}

/** Paths, and transports of containers/image that are not ones of ours. Throws USAGE. */
function refuseOtherPlaces(text: string): void {
  const [, other] = /^(dir|containers-storage|docker-daemon|sif|tarball|ostree):/.exec(text) ?? [];
  if (other === "dir" || (other !== undefined && /^[^:]*:.*[:/]/.test(text)))
    throw invalid(
      text,
      `${other}: is not supported; use ${other === "docker-daemon" || other === "containers-storage" ? "docker-archive:FILE and 'docker load' or 'podman load'" : "oci:PATH"}`,
    );
  if (/^\.{0,2}\//.test(text))
    throw invalid(
      text,
      `for a directory write oci:${text}, for a file oci-archive:${text} or docker-archive:${text}`,
    );
}

/** The same, but a plain name is one of a registry, whatever the local store has. */
export function parseRegistryAddress(text: string, cwd: string): ImageAddress {
  const address = parseImageAddress(text, cwd);
  if (address.kind !== "name") return address;
  return { kind: "registry", reference: withDefaultTag(parseReference(address.name)), text };
}

/** The same for where an image goes. */
export function parseImageTarget(text: string, cwd: string): ImageAddress {
  const address = parseRegistryAddress(text, cwd);
  if (address.kind === "layout" && address.name?.startsWith("sha256:") === true)
    throw invalid(text, "a new image in a layout is given a tag, not a digest");
  return address;
}

/** PATH[:TAG][@DIGEST]; the digest counts. */
function pathAndName(text: string, tag: RegExp): { readonly path: string; readonly name: string | null } {
  const [, before = text, digest] = /^(.*)@(sha256:[a-f0-9]{64})$/s.exec(text) ?? [];
  const colon = before.lastIndexOf(":");
  const isTagged = colon > before.lastIndexOf("/") && tag.test(before.slice(colon + 1));
  const path = isTagged ? before.slice(0, colon) : before;
  return { path, name: digest ?? (isTagged ? before.slice(colon + 1) : null) };
}

/** FILE[:NAME[:TAG]], as skopeo has it: the path ends at its first colon. */
function archiveName(text: string): { readonly path: string; readonly name: string | null } {
  const colon = text.indexOf(":");
  if (colon < 0) return { path: text, name: null };
  const name = formatReference(withDefaultTag(parseReference(text.slice(colon + 1))));
  return { path: text.slice(0, colon), name };
}

function invalid(text: string, hint: string): BuildError {
  return new BuildError("USAGE", `invalid image address ${JSON.stringify(printable(text, 200))}`, { hint });
}

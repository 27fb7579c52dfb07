// The image of `sign` and `verify-signature`: in a registry, or in an OCI layout.

import { resolve } from "node:path";
import type { Registry } from "../cache/registry/contract.ts";
import type { SignaturePlace } from "../exporters/signature/place.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { CommandContext } from "./command.ts";

export interface NamedPlace {
  readonly place: SignaturePlace;
  /** Tag or digest of the image there. */
  readonly name: string;
  /** The image without a tag, for messages and results. */
  readonly shown: string;
  /** The name that is signed; null: the image has none. */
  readonly identity: string | null;
}

/** Opens places of images; the caller disposes it. */
export interface SignaturePlaces extends AsyncDisposable {
  /** `text`: a reference, or docker://NAME or oci-layout://PATH[:tag][@digest] (also oci:PATH, oci-archive:FILE). Throws USAGE, REFERENCE_INVALID, IMAGE_UNKNOWN and as openLayout. */
  open(text: string): Promise<NamedPlace>;
}

export function openSignaturePlaces({ config, cwd, signal }: CommandContext): SignaturePlaces {
  let registry: Registry | null = null;

  async function ofRegistry(text: string): Promise<NamedPlace> {
    const [{ registryPlace }, { identityOf }, { formatRepository, parseReference, withDefaultTag }] =
      await Promise.all([
        import("../exporters/signature/place.ts"),
        import("../exporters/signature/payload.ts"),
        import("../cache/registry/reference.ts"),
      ]);
    const reference = withDefaultTag(parseReference(text));
    registry ??= await openClient();
    return {
      place: registryPlace(registry, reference, { signal }),
      name: reference.digest ?? reference.tag ?? "latest",
      shown: formatRepository(reference),
      identity: identityOf(reference),
    };
  }

  async function openClient(): Promise<Registry> {
    const [{ openRegistryClient }, { openLocalSession }] = await Promise.all([
      import("./engine/registry-client.ts"),
      import("./local-session.ts"),
    ]);
    const session = openLocalSession(config, { directories: new Map(), secrets: [], ssh: [], signal });
    return await openRegistryClient(config, { credentials: (host) => session.credentials(host) });
  }

  async function ofLayout(rest: string, text: string): Promise<NamedPlace> {
    const [{ layoutPlace }, { identityOf }, { IMAGE_NAME, openLayout }, { parseReference }] =
      await Promise.all([
        import("../exporters/signature/place.ts"),
        import("../exporters/signature/payload.ts"),
        import("../cache/registry/layout.ts"),
        import("../cache/registry/reference.ts"),
      ]);
    const [, written = "", tag, digest] =
      /^(.*?)(?::([\w][\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$/s.exec(rest) ?? [];
    if (written === "") throw new BuildError("USAGE", `${text}: the path of the layout is missing`);
    const path = resolve(cwd, written);
    const { index, find } = openLayout(path);
    const found = find(digest ?? tag ?? null);
    const named = index.manifests.find((one) => one.digest === found.digest && one.annotations?.[IMAGE_NAME]);
    const name = named?.annotations?.[IMAGE_NAME];
    return {
      place: layoutPlace(path, { signal }),
      name: found.digest,
      shown: written,
      identity: name === undefined ? null : identityOf(parseReference(name)),
    };
  }

  return {
    open(text) {
      const layout = /^oci(?:-layout|-archive)?:(?:\/\/)?(.*)$/s.exec(text)?.[1];
      if (layout !== undefined) return ofLayout(layout, text);
      if (/^\.{0,2}\//.test(text))
        throw new BuildError("USAGE", `${text}: the name of an image is expected, not a path`, {
          hint: `for an OCI layout write oci-layout://${text}`,
        });
      return ofRegistry(text.replace(/^docker(?:-image)?:\/\//, ""));
    },
    async [Symbol.asyncDispose]() {
      registry?.close();
    },
  };
}

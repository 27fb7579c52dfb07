// What signatures are made by. Types only.

import type { KeyObject } from "node:crypto";
import type { Document } from "../image.ts";

/** How images are signed. */
export interface Signing {
  /** Private. */
  readonly key: KeyObject;
  readonly annotations: Readonly<Record<string, string>>;
  /** The name that is signed; null: the image's repository. */
  readonly identity: string | null;
  /** Also each image of an index. */
  readonly recursive: boolean;
  /** Also the statements about the image, which have to be there. */
  readonly attestations: boolean;
  /** As artifacts that refer to the image, in place of tags. */
  readonly referrers: boolean;
}

/** What a tag is to stand for, by the manifest that it stands for now (null: none); null: there is nothing to change. */
export type TagChange = (
  before: Uint8Array | null,
) => { readonly blobs: readonly Document[]; readonly manifest: Document } | null;

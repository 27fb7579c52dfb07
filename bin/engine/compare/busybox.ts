// Is the tar of an image that of busybox? It has neither --sort nor --mtime, which fixes of archives need.

import type { FileTree, Member, SideLayer } from "./contract.ts";

const NAMES: readonly string[] = ["bin/tar", "usr/bin/tar"];
const BUSYBOX: readonly string[] = ["bin/busybox", "usr/bin/busybox"];

/** Looks at the uppermost of the layers, lowest first, that has the program; steps that begin with `tar` run that one. */
export async function isBusyboxTar(
  layers: readonly SideLayer[],
  options: { readonly signal: AbortSignal },
): Promise<boolean> {
  for (const layer of layers.toReversed()) {
    using tree = await layer.open(options);
    const found = NAMES.flatMap((name) => tree.members.get(name) ?? [])[0];
    if (found !== undefined) return isBusybox(found, tree);
  }
  return false;
}

/** A link to busybox (Alpine), or one of the names of the same file (images of busybox itself). */
function isBusybox(tar: Member, { members }: FileTree): boolean {
  if (tar.type !== "link" && tar.type !== "symlink") return false;
  if (/(?:^|\/)busybox$/.test(tar.link)) return true;
  return tar.type === "link" && BUSYBOX.some((name) => members.get(name)?.link === tar.link);
}

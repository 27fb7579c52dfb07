// All layers of an image as the one tree a container sees. image-spec layer.md, "Whiteouts"

import { Scope } from "../../../solver/graph/scope.ts";
import type { FileTree, Member, SideLayer } from "./contract.ts";

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";

/** The tree, and which layer each file is from. The caller disposes it. */
export interface FlatTree extends FileTree, AsyncDisposable {
  /** Place of the layer, from 0. */
  layerOf(name: string): number | null;
}

/** A directory goes with all that is in it in one call, however many an image deletes. */
interface Node {
  member: Member | null;
  layer: number;
  readonly children: Map<string, Node>;
}

/** Reads all layers, oldest first. */
export async function openFlatTree(
  layers: readonly SideLayer[],
  { signal }: { readonly signal: AbortSignal },
): Promise<FlatTree> {
  const scope = new Scope(null);
  const root = newNode();
  try {
    for (const [at, layer] of layers.entries()) {
      const tree = await layer.open({ signal });
      scope.use({ [Symbol.asyncDispose]: async () => tree[Symbol.dispose]() });
      // Marks are about the layers below, wherever they stand in the archive.
      for (const name of tree.members.keys()) {
        const { parent, base } = below(root, name, false) ?? {};
        if (parent === undefined || base === undefined || !base.startsWith(WHITEOUT)) continue;
        if (base === OPAQUE) parent.children.clear();
        else parent.children.delete(base.slice(WHITEOUT.length));
      }
      for (const [name, member] of tree.members) {
        const { parent, base } = below(root, name, true) ?? {};
        if (parent === undefined || base === undefined || base.startsWith(WHITEOUT)) continue;
        const known = parent.children.get(base);
        const node = known !== undefined && member.type === "dir" ? known : newNode();
        node.member = member;
        node.layer = at;
        parent.children.set(base, node);
      }
    }
  } catch (error) {
    await scope[Symbol.asyncDispose]();
    throw error;
  }
  const members = new Map<string, Member>();
  const origins = new Map<string, number>();
  const waiting: [string, Node][] = [["", root]];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [path, node] = next;
    for (const [base, child] of node.children) {
      const name = path === "" ? base : `${path}/${base}`;
      if (child.member !== null) {
        members.set(name, child.member);
        origins.set(name, child.layer);
      }
      waiting.push([name, child]);
    }
  }
  return {
    // Order says nothing here: it is that of several archives.
    members: new Map([...members].toSorted(([one], [other]) => (one < other ? -1 : 1))),
    layerOf: (name) => origins.get(name) ?? null,
    [Symbol.dispose]: () => {},
    [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose](),
  };
}

function newNode(): Node {
  return { member: null, layer: 0, children: new Map() };
}

/** The directory of a name; null: it is not there, and is not to be made. */
function below(
  root: Node,
  name: string,
  make: boolean,
): { readonly parent: Node; readonly base: string } | null {
  const parts = name.split("/");
  const base = parts.pop() ?? "";
  let parent = root;
  for (const part of parts) {
    let next = parent.children.get(part);
    if (next === undefined) {
      if (!make) return null;
      next = newNode();
      parent.children.set(part, next);
    }
    parent = next;
  }
  return { parent, base };
}

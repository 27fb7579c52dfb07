// Files of a result as fsutil's Stat.

import { create } from "@bufbuild/protobuf";
import type { TreeEntry } from "../engine/request.ts";
import { goMode } from "../wire/fsutil-mode.ts";
import { type Stat, StatSchema } from "../wire/messages/fsutil/types/stat_pb.ts";

export function statOf(entry: TreeEntry): Stat {
  return create(StatSchema, {
    path: entry.name,
    mode: goMode(entry.type, entry.mode),
    uid: entry.uid,
    gid: entry.gid,
    size: BigInt(entry.size),
    modTime: entry.mtimeNs,
    linkname: entry.linkName,
    devmajor: BigInt(entry.rdevMajor),
    devminor: BigInt(entry.rdevMinor),
  });
}

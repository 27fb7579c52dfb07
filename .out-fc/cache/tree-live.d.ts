import type { Digest } from "../solver/graph/digest.ts";
import { type TreeReader, type TreeStat } from "./tree.ts";
/** Reads the directory at `root` (absolute). `known` answers from a stat cache. */
export declare function liveTree(root: string, known: (path: string, stat: TreeStat) => Digest | null): TreeReader;
/** Opens a regular file and nothing else: a link is refused, a FIFO neither blocks nor is read. */
export declare function openRegular(native: string | Buffer, shown: string): number;

// [process] Swaps names of a directory for others, as fast as it can, until it is told to stop: renameat2(2) with RENAME_EXCHANGE, so
// that both names exist at every moment. Prints the number of swaps at its end.
//
// Arguments: pairs of paths.

import { renameat2 } from "../../worker/sys/file.ts";
import { AT, RENAME } from "../../worker/sys/constants.ts";

const paths = process.argv.slice(2);
let swaps = 0;

function swapSome(): void {
  for (let i = 0; i < 200; i += 1) {
    for (let at = 0; at + 1 < paths.length; at += 2) {
      renameat2(AT.FDCWD, paths[at] as string, AT.FDCWD, paths[at + 1] as string, RENAME.EXCHANGE);
      swaps += 1;
    }
  }
  setImmediate(swapSome);
}

process.on("message", () => process.send?.(swaps, () => process.exit(0)));
process.send?.("ready");
swapSome();

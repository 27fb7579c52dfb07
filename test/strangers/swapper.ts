// Swaps two names until it ends: node swapper.js DIR A B. Prints "ready" after the first swap, and the number of
// swaps when it is told to stop.

import { openat, renameat2 } from "../../worker/sys/file.ts";
import { AT, O, RENAME } from "../../worker/sys/constants.ts";

const [dir = "", a = "", b = ""] = process.argv.slice(2);
const fd = openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY);
let count = 0;
process.on("SIGTERM", () => {
  process.stdout.write(`${count}\n`, () => process.exit(0));
});
process.on("disconnect", () => process.exit(0));

function round(): void {
  for (let turn = 0; turn < 1000; turn++, count++) renameat2(fd, a, fd, b, RENAME.EXCHANGE);
  setImmediate(round);
}
renameat2(fd, a, fd, b, RENAME.EXCHANGE);
process.stdout.write("ready\n");
round();

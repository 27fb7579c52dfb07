// ioctl(2), for the few requests that have no other call.

import { bind, check } from "./libc.ts";

const cIoctlPointer = bind("ioctl", "int", ["int", "int64", "ptr"]);
const cIoctlNumber = bind("ioctl", "int", ["int", "int64", "int64"]);

/** ioctl(2) with a structure or a number as its argument. */
export function ioctl(fd: number, request: number, argument: Buffer | bigint): number {
  return check(
    "ioctl",
    typeof argument === "bigint" ? cIoctlNumber(fd, request, argument) : cIoctlPointer(fd, request, argument),
  );
}

// Which program can connect a network namespace of an ordinary user to the world: pasta(1), slirp4netns(1).

import { accessSync, constants } from "node:fs";
import { findProgram } from "./userns.ts";

export type NetworkHelper =
  | { readonly kind: "pasta" | "slirp4netns"; readonly file: string }
  /** Steps with the default network use the host's; `why` says what is missing, with the fix. */
  | { readonly kind: "none"; readonly why: string };

/** Looks in `path` for pasta, then slirp4netns, and whether this user may make tap devices. A few stat calls. */
export function findNetworkHelper(path: string): NetworkHelper {
  const pasta = findProgram("pasta", path);
  const file = pasta ?? findProgram("slirp4netns", path);
  if (file === null)
    return { kind: "none", why: "neither pasta nor slirp4netns is installed: apt-get install passt" };
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
  } catch {
    return { kind: "none", why: "/dev/net/tun cannot be opened: modprobe tun; chmod 0666 /dev/net/tun" };
  }
  return { kind: pasta === null ? "slirp4netns" : "pasta", file };
}

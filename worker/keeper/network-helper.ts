// Which program can connect a network namespace of an ordinary user to the outside: pasta(1), slirp4netns(1).

import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { findProgram } from "./userns.ts";

export type NetworkHelper =
  | { readonly kind: "pasta" | "slirp4netns"; readonly file: string }
  /** The keeper forwards itself (sandbox/forwarder.ts), a little less; `why` says what is missing, with the fix. */
  | { readonly kind: "none"; readonly why: string };

/** Where a keeper has its network namespaces: a directory of the store that it covers with a memory file system only it sees. */
export function networkDir(storeDir: string): string {
  return join(storeDir, "bin", "net");
}

/** Files of one namespace in that directory. */
export interface NetworkFiles {
  readonly namespace: string; // what it is bound to
  readonly ready: string; // FIFO: the helper's pid, when the namespace is connected
  readonly words: string; // FIFO of a helper that is started with the keeper: its standard error
}
export function networkFiles(dir: string, number: number): NetworkFiles {
  const namespace = join(dir, `net-${number}`);
  return { namespace, ready: `${namespace}.ready`, words: `${namespace}.words` };
}

/** Connects a namespace and stays in the foreground. No way in: neither ports of the step on the host (-t, -u), nor ports of the
 *  host's loopback in the step (-T, -U, gateway). */
export function pastaArgs(files: NetworkFiles): readonly string[] {
  const ports = ["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw"];
  return [
    ...["-f", "-q", "--netns-only", "--config-net", "--ns-ifname", INTERFACE, ...ports],
    ...["--dns-forward", RESOLVER.pasta, "--runas", "0:0", "--pid", files.ready, "--netns", files.namespace],
  ];
}

/** The network interface of a step, as in Docker. */
export const INTERFACE = "eth0";

/** Name server inside a namespace. Link-local, as podman has it; slirp4netns(1) fixes its own. */
export const RESOLVER = { pasta: "169.254.1.1", slirp4netns: "10.0.2.3", own: "169.254.1.1" } as const;

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

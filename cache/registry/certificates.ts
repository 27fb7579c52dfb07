// Certificate authorities of single registries, where docker, podman and containerd keep them: DIR/HOST[:PORT]/*.crt.
// https://docs.docker.com/engine/security/certificates/, containers-certs.d(5)

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";

const FILE_MAX_BYTES = 1 << 20;

/**
 * Returns what `TransportOptions.certificates` wants: Node's own authorities and those of a host in any of the directories
 * (absolute: /etc/docker/certs.d, /etc/containers/certs.d …), or null when none has any. It throws REGISTRY_UNREACHABLE when
 * a file cannot be read: without it the connection would fail for a reason that is harder to see.
 */
export function hostCertificates(
  directories: readonly string[],
): (host: string) => Promise<readonly string[] | null> {
  return async (host) => {
    const own = directories.flatMap((directory) => readDirectory(join(directory, host)));
    if (own.length === 0) return null;
    const { rootCertificates } = await import("node:tls"); // takes 3 ms, and hosts with their own are rare
    return [...rootCertificates, ...own];
  };
}

function readDirectory(directory: string): readonly string[] {
  let names: readonly string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Root's directories are often closed to others; nothing in them is meant for them then.
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EACCES") return [];
    throw error;
  }
  // Beside *.crt there may be *.cert and *.key, a client's own certificate.
  return names
    .filter((name) => name.endsWith(".crt"))
    .sort()
    .map((name) => readPem(join(directory, name)));
}

function readPem(path: string): string {
  try {
    const text = readFileSync(path, "latin1");
    if (text.length > FILE_MAX_BYTES) throw new Error(`it is larger than ${FILE_MAX_BYTES} bytes`);
    if (!text.includes("-----BEGIN CERTIFICATE-----")) throw new Error("it is not in PEM form");
    return text;
  } catch (cause) {
    throw new BuildError(
      "REGISTRY_UNREACHABLE",
      `cannot use the certificate authority ${path}: ${(cause as Error).message}`,
      { cause, hint: "repair or remove the file" },
    );
  }
}

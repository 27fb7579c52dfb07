// DNS for steps: the parts of the host's resolv.conf that a step can use.

import { readFileSync } from "node:fs";

/** Where systemd-resolved keeps the real servers behind its stub on 127.0.0.53. */
const RESOLV_FILES = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/** Content of /etc/resolv.conf for a step on this network. Loopback servers are of use only on the host's network. */
export function resolvConfFor(network: "sandbox" | "host" | "none"): string {
  if (network === "none") return "";
  for (const file of RESOLV_FILES) {
    const lines = readLines(file);
    if (network === "host" && lines.length > 0) return `${lines.join("\n")}\n`;
    const usable = lines.filter((line) => !/^nameserver\s+(127\.|::1\b)/.test(line));
    if (usable.some((line) => line.startsWith("nameserver"))) return `${usable.join("\n")}\n`;
  }
  return "";
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, "utf8")
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "" && !line.startsWith("#") && !line.startsWith(";"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

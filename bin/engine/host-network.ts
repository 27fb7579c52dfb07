// DNS for steps: the parts of the host's resolv.conf that a step can use.

import { readFileSync } from "node:fs";
import { CONFIGURED_DNS } from "../../worker/keeper/messages.ts";
import type { DnsSettings } from "./config.ts";

/** Where systemd-resolved keeps the real servers behind its stub on 127.0.0.53. */
const RESOLV_FILES = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] as const;

/** The content of /etc/resolv.conf by network, with what settings have in place of this machine's. */
export function resolvConfOf(dns: DnsSettings | null): (network: "sandbox" | "host" | "none") => string {
  if (dns === null) return hostResolvConf;
  const { nameservers, options, searchDomains } = dns;
  return (network) => {
    if (network === "none") return "";
    const asked = readLines(RESOLV_FILES[0]).find((line) => /^nameserver\s+\d/.test(line));
    const kept = hostResolvConf(network)
      .split("\n")
      .filter((line) => !(nameservers.length > 0 && line.startsWith("nameserver")))
      .filter((line) => !(options.length > 0 && line.startsWith("options")))
      .filter((line) => !(searchDomains.length > 0 && /^(?:search|domain)\b/.test(line)))
      .filter((line) => line !== "");
    const lines = [
      ...(nameservers.length > 0 ? [`${CONFIGURED_DNS}${asked?.split(/\s+/)[1] ?? "none"}`] : []),
      ...(searchDomains.length > 0 ? [`search ${searchDomains.join(" ")}`] : []),
      ...nameservers.map((server) => `nameserver ${server}`),
      ...kept,
      ...(options.length > 0 ? [`options ${options.join(" ")}`] : []),
    ];
    return `${lines.join("\n")}\n`;
  };
}

/** Content of /etc/resolv.conf for a step on this network. Loopback servers are of use only on the host's network. */
function hostResolvConf(network: "sandbox" | "host" | "none"): string {
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

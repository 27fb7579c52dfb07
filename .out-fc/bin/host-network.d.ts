/** Content of /etc/resolv.conf for a step on this network. Loopback servers are of use only on the host's network. */
export declare function resolvConfFor(network: "sandbox" | "host" | "none"): string;

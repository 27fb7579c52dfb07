// EXPOSE's ports: 80, 80/udp, 8000-8010; mappings to host ports are parsed and ignored. docker/go-connections/nat.

import { isIP } from "node:net";
import { BuildError } from "../solver/graph/error.ts";

const PORT_MAX = 65_535;
const PROTOCOLS: ReadonlySet<string> = new Set(["tcp", "udp", "sctp"]);

export interface ExposedPorts {
  /** "80/tcp", in the order of the range. */
  readonly ports: readonly string[];
  readonly isMapping: boolean;
  readonly hasCapitals: boolean;
}

/** Reads one word of EXPOSE. Throws DOCKERFILE_SYNTAX. */
export function parsePorts(text: string): ExposedPorts {
  const { ip, hostPort, port } = splitMapping(text);
  const [number = "", protocol = ""] = port.split(/\/(.*)/s);
  if (number === "") throw wrong(`invalid port: ${JSON.stringify(text)}: no port specified`);
  const lower = protocol.toLowerCase() || "tcp";
  if (!PROTOCOLS.has(lower)) throw wrong(`invalid port: ${JSON.stringify(text)}: invalid proto: ${protocol}`);
  if (ip !== "" && isIP(ip) === 0) throw wrong(`invalid IP address: ${ip}`);
  const [first, last] = readRange(number) ?? [];
  if (first === undefined || last === undefined) throw wrong(`invalid containerPort: ${number}`);
  if (hostPort !== "") {
    const range = readRange(hostPort);
    if (range === null) throw wrong(`invalid hostPort: ${hostPort}`);
    // A single port may be mapped to any of a range.
    if (range[1] - range[0] !== last - first && first !== last) {
      throw wrong(`invalid ranges specified for container and host Ports: ${number} and ${hostPort}`);
    }
  }
  return {
    ports: Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${lower}`),
    isMapping: port !== text,
    hasCapitals: protocol !== protocol.toLowerCase(),
  };
}

/** [[ip:]hostPort:]port; an IPv6 address stands in brackets. */
function splitMapping(text: string): { ip: string; hostPort: string; port: string } {
  const parts = text.split(":");
  const port = parts.pop() ?? "";
  const hostPort = parts.pop() ?? "";
  return { ip: parts.join(":").replace(/^\[(.*)\]$/, "$1"), hostPort, port };
}

/** Numbers may have a plus, as for Go's ParseInt. */
function readRange(text: string): readonly [number, number] | null {
  const [, from, to = from] = /^(\+?\d+)(?:-(\+?\d+))?$/.exec(text) ?? [];
  const [first, last] = [Number(from), Number(to)];
  return from !== undefined && last <= PORT_MAX && first <= last ? [first, last] : null;
}

function wrong(message: string): BuildError {
  return new BuildError("DOCKERFILE_SYNTAX", message);
}

// Addresses of builders, with the forms and names of BuildKit's buildctl and its connection helpers.

import { resolve } from "node:path";
import { BuildError, printable } from "../../solver/graph/error.ts";

/** Where a builder is. */
export type BuilderAddress =
  | { readonly kind: "unix"; readonly path: string } // absolute
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly tls: TlsSettings | null }
  /** A program whose standard streams are the connection. */
  | { readonly kind: "command"; readonly file: string; readonly args: readonly string[] };

/** Files are PEM, absolute; null: the system's authorities, and no certificate of one's own. */
export interface TlsSettings {
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
  readonly serverName: string | null;
}

export const NO_TLS: TlsSettings = { ca: null, cert: null, key: null, serverName: null };

/** Is it an address, and not the name of a builder? */
export function isAddress(text: string): boolean {
  return /^[a-z][a-z-]*:\/\//.test(text);
}

/** Reads an address. Throws USAGE. `cwd`: paths are relative to it. */
export function parseAddress(text: string, tls: TlsSettings, cwd: string): BuilderAddress {
  const [, scheme = "", rest = ""] = /^([a-z][a-z-]*):\/\/(.*)$/s.exec(text) ?? [];
  if (tls !== NO_TLS && Object.values(tls).some((value) => value !== null) && scheme !== "tcp")
    throw invalid(text, "TLS is for tcp:// addresses only");
  switch (scheme) {
    case "unix":
      if (rest === "") throw invalid(text, "the form is unix://PATH");
      return { kind: "unix", path: resolve(cwd, rest) };
    case "tcp":
      return tcp(text, rest, tls);
    case "ssh":
      return ssh(text, rest);
    case "docker-container":
    case "podman-container":
    case "nerdctl-container": {
      const { host, query } = located(text, rest, ["context"]);
      const program = scheme.slice(0, -"-container".length);
      const context = query.get("context");
      if (context !== undefined && program !== "docker")
        throw invalid(text, "only docker-container:// has a context");
      const before = context === undefined ? [] : [`--context=${context}`];
      return command(program, [...before, "exec", "-i", named(text, host), ...DIAL]);
    }
    case "kube-pod": {
      const { host, query } = located(text, rest, ["context", "namespace", "container"]);
      const flags = [...query].filter(([, value]) => value !== "").map(([name, value]) => [name, value]);
      const of = (name: string): string[] =>
        flags.flatMap(([flag, value]) => (flag === name ? [`--${name}=${value}`] : []));
      for (const [name, value = ""] of flags)
        if (name !== "context" && !KUBE_NAME.test(value)) throw invalid(text, `invalid ${name}`);
      if (!KUBE_NAME.test(host)) throw invalid(text, "the form is kube-pod://POD?namespace=NAME");
      const args = [
        ...of("context"),
        ...of("namespace"),
        "exec",
        ...of("container"),
        "-i",
        host,
        "--",
        ...DIAL,
      ];
      return command("kubectl", args);
    }
    default:
      throw invalid(text, FORMS);
  }
}

const FORMS =
  "the forms are unix://PATH, tcp://HOST:PORT, ssh://HOST[:PORT], docker-container://NAME and kube-pod://POD";
const DIAL: readonly string[] = ["buildctl", "dial-stdio"];
const KUBE_NAME = /^[a-z0-9][-a-z0-9.]*$/;

function tcp(text: string, rest: string, tls: TlsSettings): BuilderAddress {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:/?#@[\]\s]+):(\d{1,5})$/.exec(rest);
  if (match === null || Number(match[2]) > 65_535 || Number(match[2]) === 0)
    throw invalid(text, "the form is tcp://HOST:PORT");
  const isTls = Object.values(tls).some((value) => value !== null);
  if ((tls.cert === null) !== (tls.key === null))
    throw new BuildError("USAGE", "--tlscert and --tlskey go together");
  return {
    kind: "tcp",
    host: (match[1] ?? "").replace(/^\[|\]$/g, ""),
    port: Number(match[2]),
    tls: isTls ? tls : null,
  };
}

function ssh(text: string, rest: string): BuilderAddress {
  const match = /^(?:([^@/?#\s]+)@)?(\[[0-9a-fA-F:.]+\]|[^@:/?#[\]\s]+)(?::(\d{1,5}))?(\/[^?#]*)?$/.exec(
    rest,
  );
  if (match === null)
    throw invalid(
      text,
      "the form is ssh://HOST[:PORT][/SOCKET], with the name of a user and @ before HOST if need be",
    );
  const [, user, host = "", port, socket = ""] = match;
  if (user?.includes(":")) throw invalid(text, "a password cannot be part of it");
  if (user?.startsWith("-")) throw invalid(text, "invalid user");
  // What ssh is given becomes words of a shell at the other end.
  if (socket !== "" && socket !== "/" && !/^[\w./@%+=:,-]+$/.test(socket))
    throw invalid(text, "invalid path");
  const at = socket === "" || socket === "/" ? [] : ["--addr", `unix://${socket}`];
  return command("ssh", [
    ...(user === undefined ? [] : ["-l", user]),
    ...(port === undefined ? [] : ["-p", port]),
    ...["--", named(text, host.replace(/^\[|\]$/g, "")), "buildctl", ...at, "dial-stdio"],
  ]);
}

function command(file: string, args: readonly string[]): BuilderAddress {
  return { kind: "command", file, args };
}

/** NAME?key=value&… */
function located(
  text: string,
  rest: string,
  keys: readonly string[],
): { readonly host: string; readonly query: ReadonlyMap<string, string> } {
  const [host = "", ask = "", ...more] = rest.replace(/\/$/, "").split("?");
  if (more.length > 0 || host.includes("#")) throw invalid(text, FORMS);
  const query = new Map(new URLSearchParams(ask));
  for (const key of query.keys())
    if (!keys.includes(key)) throw invalid(text, `unknown "${printable(key, 60)}"`);
  return { host, query };
}

/** No flag of the program that gets it. */
function named(text: string, name: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.:-]*$/.test(name)) throw invalid(text, "invalid name");
  return name;
}

function invalid(text: string, hint: string): BuildError {
  return new BuildError("USAGE", `invalid address of a builder: ${JSON.stringify(printable(text, 200))}`, {
    hint,
  });
}

/** The same address as text, for messages. */
export function shownAddress(address: BuilderAddress): string {
  switch (address.kind) {
    case "unix":
      return `unix://${address.path}`;
    case "tcp":
      return `tcp://${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
    case "command":
      return [address.file, ...address.args].join(" ");
  }
}

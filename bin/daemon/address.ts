// Where a daemon listens.

import { join, resolve } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import type { Environment } from "../engine/config.ts";

export type Address =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly tls: TlsFiles | null }
  /** Sockets that whoever started the daemon has opened, all or those of a name; sd_listen_fds(3). */
  | { readonly kind: "fd"; readonly name: string | null; readonly tls: TlsFiles | null };

/** PEM files; absolute. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** Under which name the program was started: buildkitd has directories of its own. */
export type ProgramName = "tsbuildd" | "buildkitd";

/** Where a daemon of this name listens by default; null: there is no such directory. */
export function defaultSocket(program: ProgramName, env: Environment, isRoot: boolean): string | null {
  const runtime = isRoot ? "/run" : env.XDG_RUNTIME_DIR;
  if (!runtime) return null;
  return join(runtime, program === "tsbuildd" ? "tsbuild" : "buildkit", `${program}.sock`);
}

/** `tls`: what has been given for addresses that use it. Throws USAGE. */
export function addressOf(
  text: string,
  { cert, key, ca }: { readonly [Name in keyof TlsFiles]: string | null },
  cwd: string,
): Address {
  const path = /^unix:\/\/(.+)$/.exec(text)?.[1];
  if (path !== undefined) return { kind: "unix", path: resolve(cwd, path) };
  const tcp = /^tcp:\/\/(\[[^\]]+\]|[^:/]*):(\d{1,5})$/.exec(text);
  const fd = /^fd:\/\/([\w.@:-]*|\*)$/.exec(text);
  if ((tcp === null && fd === null) || Number(tcp?.[2] ?? 0) > 65_535)
    throw new BuildError("USAGE", `invalid address ${JSON.stringify(text)}`, {
      hint: "the forms are unix://PATH, tcp://HOST:PORT and fd://[NAME]",
    });
  if ([cert, key, ca].some(Boolean) && !(cert && key && ca))
    throw new BuildError("USAGE", "--tlscert, --tlskey and --tlscacert go together", {
      hint: "clients are known by their certificates, which tlscacert has signed",
    });
  const tls = cert && key && ca ? { cert, key, ca } : null;
  if (fd !== null) return { kind: "fd", name: fd[1] === "" || fd[1] === "*" ? null : (fd[1] ?? null), tls };
  const host = (tcp?.[1] ?? "").replace(/^\[|\]$/g, "");
  return { kind: "tcp", host: host === "" ? "0.0.0.0" : host, port: Number(tcp?.[2]), tls };
}

/** The address of metrics, also as HOST:PORT, which is buildkitd's form; null: the text is empty. Whoever can connect may read them: there is no
 *  TLS, so it is a socket or on the loopback interface. Throws USAGE. */
export function debugAddressOf(text: string, cwd: string): Address | null {
  if (text === "") return null;
  const hint = "the forms are unix://PATH and 127.0.0.1:PORT";
  const full = text.includes("://") ? text : `tcp://${text}`;
  let address: Address;
  try {
    address = addressOf(full, { cert: null, key: null, ca: null }, cwd);
  } catch (cause) {
    throw new BuildError("USAGE", `invalid debug address ${JSON.stringify(text)}`, { cause, hint });
  }
  if (address.kind === "unix" || (address.kind === "tcp" && LOOPBACK.includes(address.host))) return address;
  throw new BuildError("USAGE", `the debug address ${text} is not of the loopback interface`, {
    hint,
  });
}

export const LOOPBACK: readonly string[] = ["127.0.0.1", "::1", "localhost"];

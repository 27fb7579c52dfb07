// Flags of connections to builders, with buildctl's names.

import { resolve } from "node:path";
import type { FlagSpec, ParsedFlags } from "./args.ts";
import { NO_TLS, type TlsSettings } from "./remote/address.ts";

export const BUILDER_TLS_FLAGS: readonly FlagSpec[] = [
  {
    name: "tlscacert",
    kind: "string",
    value: "file",
    help: "Authority of the certificate of a tcp:// builder",
  },
  { name: "tlscert", kind: "string", value: "file", help: "Own certificate for a tcp:// builder" },
  { name: "tlskey", kind: "string", value: "file", help: "Key of --tlscert" },
  {
    name: "tlsservername",
    kind: "string",
    value: "name",
    help: "Name in the certificate of a tcp:// builder",
  },
];

/** The TLS flags; NO_TLS: none was given. */
export function readTlsFlags(flags: ParsedFlags, cwd: string): TlsSettings {
  const path = (name: string): string | null => {
    const value = flags.one(name);
    return value === null || value === "" ? null : resolve(cwd, value);
  };
  const tls: TlsSettings = {
    ca: path("tlscacert"),
    cert: path("tlscert"),
    key: path("tlskey"),
    serverName: flags.one("tlsservername") || null,
  };
  return Object.values(tls).every((value) => value === null) ? NO_TLS : tls;
}

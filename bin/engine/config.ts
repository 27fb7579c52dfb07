// The settings of the machine and the user that an engine is opened with.

import type { HostTrust } from "../../cache/registry/certificates.ts";
import type { S3Credentials } from "../../cache/remote-cache/s3-calls.ts";
import type { StepConditions } from "../../worker/step-conditions.ts";
import type { GhaLocation } from "./cache-location.ts";
import type { StorageLimit } from "./request.ts";

/** Who builds: the account that the keeper is started for. */
export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly name: string;
}

/** How registries are reached, as flags and files say. */
export interface RegistrySettings {
  /** Hosts spoken to without TLS, or with a certificate nobody vouches for. */
  readonly insecure: readonly string[];
  readonly mirrors: readonly { readonly host: string; readonly mirror: string }[];
  /** Directories with a folder for each registry (certs.d), the first that has one counts; absolute. */
  readonly hostDirs: readonly string[];
  /** containers-registries.conf(5): the first of `main` that is there, then the directories of `more`. */
  readonly conf: { readonly main: readonly string[]; readonly more: readonly string[] };
  /** How single hosts are spoken to, registries and mirrors, by host[:port]; beside what files say. */
  readonly hosts?: ReadonlyMap<string, RegistryHost>;
}

/** What a configuration says of one host, in BuildKit's terms. Paths are absolute. */
export type RegistryHost = HostTrust;

/** Name servers for steps, in place of this machine's. A part that is empty stays this machine's. */
export interface DnsSettings {
  readonly nameservers: readonly string[];
  readonly options: readonly string[];
  readonly searchDomains: readonly string[];
}

/** The user's credentials for external build caches; used if the request contains none. */
export interface CacheKeys {
  /** `name`: the cache they are for. Rejects with REGISTRY_DENIED if there are none. */
  readonly s3: (name: string) => Promise<S3Credentials>;
  /** The cache of the GitHub Actions job this is. */
  readonly actions: () => Promise<GhaLocation>;
}

/** Settings of the machine and the user, shared by all requests to an engine. */
export interface EngineConfig {
  /** Directory of the store, absolute. */
  readonly root: string;
  readonly user: User;
  /** Environment of helper programs, which also specifies proxies and certificate authorities. */
  readonly env: Environment;
  /** Also report notes about the machine. */
  readonly verbose: boolean;
  readonly registries: RegistrySettings;
  readonly cacheKeys: CacheKeys;
  /** null or omitted: this machine's. */
  readonly dns?: DnsSettings | null;
  /** Where steps are that ask for no network; omitted: in networks of their own. */
  readonly network?: "sandbox" | "host" | "none";
  /** Steps at one time, of all builds; null or omitted: as many as this machine should take. */
  readonly maxParallelism?: number | null;
  /** What is different for steps on purpose, by which results may not be kept: in a store of its own. Omitted: nothing. */
  readonly stepConditions?: StepConditions | null;
  /** How large the store may become where a build says nothing; omitted: a share of the disk. */
  readonly maxStorage?: StorageLimit | null;
  /** Version of this program, as documents name it; omitted: not known. */
  readonly version?: () => string;
  /** Receives notices about the machine's configuration; the same notice may be repeated. */
  readonly notice: (text: string) => void;
}

/** Where helpers such as newuidmap and pasta are looked for: PATH, and the administrators' directories users may not have in it. */
export function searchPath(env: Environment): string {
  return `${env.PATH ?? ""}:/usr/sbin:/sbin`;
}

export type Environment = Readonly<Record<string, string | undefined>>;

// Where a repository is really accessed: mirrors, other locations, registries without (verified) TLS, authorities. From flags, then
// hosts.toml, then registries.conf. Read when a registry is first accessed; without any such file that is a few system calls.

import {
  type Authorities,
  type HostCertificates,
  hostCertificates,
  type HostTrust,
  readClient,
  readPem,
  readTrust,
} from "./certificates.ts";
import {
  type Capability,
  type HostEntry,
  type HostSettings,
  type HostsFile,
  readHostsToml,
} from "./hosts-toml.ts";
import { apiHost, type Manner, type Repository } from "./reference.ts";
import {
  readRegistriesConf,
  type RegistriesFiles,
  type RegistryRule,
  relocated,
  ruleOf,
} from "./registries-conf.ts";

export interface PlacesOptions {
  readonly conf: RegistriesFiles;
  /** Directories with a folder for each host: *.crt, *.cert, hosts.toml. The user's own first. */
  readonly hostDirs: readonly string[];
  /** What is asked before a host: "host[:port][/namespace]", or with http:// or https://. */
  readonly mirrors: readonly { readonly host: string; readonly mirror: string }[];
  /** How single hosts are spoken to, registries and mirrors, by host[:port]. */
  readonly hosts?: ReadonlyMap<string, HostTrust>;
  /** See hostCertificates. */
  readonly authorities: Authorities;
  /** Told once for each file that says what nobody understands. */
  readonly notice: (text: string) => void;
}

/** A mirror and what it is asked for. */
export interface Mirror {
  readonly at: Repository;
  readonly byTag: boolean;
  readonly byDigest: boolean;
}

export interface Places {
  /** Asked first when something is read, in this order. */
  readonly mirrors: readonly Mirror[];
  /** Where it is read from at last. */
  readonly source: Repository;
  /** Where it is pushed to: the first host of hosts.toml that is said to take pushes, else the registry itself. Mirrors, and locations
   *  of registries.conf, are for reading. */
  readonly target: Repository;
  /** The file that forbids to read from it. */
  readonly blockedBy: string | null;
  /** What the registry itself may not be asked for, and the file that says so. */
  readonly closed: { readonly to: readonly Capability[]; readonly file: string } | null;
}

export interface PlaceBook {
  /** Throws REGISTRY_UNREACHABLE for files that cannot be used. */
  placesOf(repository: Repository): Promise<Places>;
  /** For TransportOptions.certificates. */
  certificates(host: string): Promise<HostCertificates>;
}

export function openPlaces(options: PlacesOptions): PlaceBook {
  let rules: Promise<readonly RegistryRule[]> | null = null;
  const hostFiles = new Map<string, Promise<HostsFile | null>>();

  async function hostsFileOf(host: string): Promise<HostsFile | null> {
    let file = hostFiles.get(host);
    if (file === undefined) {
      file = readHostsToml(options.hostDirs, host).then((read) => {
        if (read !== null && read.unknown.length > 0)
          options.notice(
            `${read.path}: unknown ${read.unknown.length > 1 ? "keys" : "key"} ${read.unknown.join(", ")}`,
          );
        return read;
      });
      hostFiles.set(host, file);
    }
    return await file;
  }

  const flagMirrors = (repository: Repository): readonly Mirror[] =>
    options.mirrors
      .filter(({ host }) => host === repository.host)
      .map(({ mirror }) => ({ at: trusted(below(repository, mirror)), byTag: true, byDigest: true }));

  const trust = new Map<HostTrust, ReturnType<typeof readTrust>>();
  /** The repository spoken to as the settings of its host say; what has been said of it before stays. */
  function trusted(repository: Repository): Repository {
    const [, scheme = "", host = ""] = /^(https?:\/\/)?(.*)$/.exec(repository.host) ?? [];
    const said = options.hosts?.get(host);
    if (said === undefined) return repository;
    const read = (): ReturnType<typeof readTrust> => {
      const known = trust.get(said) ?? readTrust(said);
      trust.set(said, known);
      return known;
    };
    const hasFiles = said.ca.length + said.clients.length + said.directories.length > 0;
    // Both: TLS with any certificate is tried first.
    const isPlain = said.http && !said.insecure && scheme === "";
    return {
      ...repository,
      ...(isPlain ? { host: `http://${host}` } : {}),
      ...(said.insecure ? { insecure: true } : {}),
      ...(hasFiles ? { manner: { tls: read, ...repository.manner } } : {}),
    };
  }

  return {
    async placesOf(repository) {
      rules ??= readRegistriesConf(options.conf);
      const [rule, hosts] = [ruleOf(await rules, repository), await hostsFileOf(repository.host)];

      const isInsecure =
        repository.insecure === true || rule?.insecure === true || hosts?.own.insecure === true;
      const named = {
        ...repository,
        ...(isInsecure ? { insecure: true } : {}),
        ...(hosts === null ? {} : mannerOf(hosts.own, {})),
      };
      const mirrors = [...flagMirrors(repository)];
      for (const entry of hosts?.mirrors ?? []) {
        const may = (what: Capability): boolean => entry.capabilities?.includes(what) ?? true;
        mirrors.push({ at: fromEntry(repository, entry), byTag: may("resolve"), byDigest: may("pull") });
      }
      for (const { location, insecure: lax, use } of rule?.mirrors ?? []) {
        const { insecure: _own, ...plain } = repository;
        const at = {
          ...relocated(plain, rule as RegistryRule, location),
          ...(lax ? { insecure: true } : {}),
        };
        // Of an image by tag all that follows is by digest, and has to come from somewhere.
        mirrors.push({ at, byTag: use !== "digest-only", byDigest: true });
      }
      const server = hosts?.server ?? null;
      const isElsewhere = server !== null && !isAtHome(server, repository);
      const itself = isElsewhere ? fromEntry(named, server) : trusted(named);
      const source = rule === null || isElsewhere ? itself : relocated(named, rule, rule.location);
      // Without a list a host may do all for containerd. A mirror that is named for reading gets no pushes by that.
      const taker = hosts?.mirrors.find(({ capabilities }) => capabilities?.includes("push"));
      const allowed = hosts?.own.capabilities ?? ALL;
      const closed = ALL.filter(
        (what) => !allowed.includes(what) && !(what === "push" && taker !== undefined),
      );
      return {
        mirrors,
        source,
        target: taker === undefined ? itself : fromEntry(repository, taker),
        blockedBy: rule?.blocked === true ? rule.file : null,
        closed: hosts === null || closed.length === 0 ? null : { to: closed, file: hosts.path },
      };
    },
    certificates: hostCertificates(options.hostDirs, options.authorities),
  };
}

const ALL: readonly Capability[] = ["resolve", "pull", "push"];

/** Is the server of the file where the name says anyway? The address may leave out https, and the Hub's is not its name. */
function isAtHome({ origin, root }: HostEntry, { host }: Repository): boolean {
  const address = `https://${apiHost(host)}`;
  return root === "/v2" && URL.canParse(address) && origin === new URL(address).origin;
}

function fromEntry(repository: Repository, entry: HostEntry): Repository {
  const { insecure: _its, ...plain } = repository;
  const { host } = new URL(entry.origin);
  const isHub = entry.origin === `https://${apiHost("docker.io")}`;
  const isOther = apiHost(host) !== apiHost(repository.host);
  return {
    ...plain,
    host: isHub ? "docker.io" : entry.origin,
    ...(entry.root === "/v2" ? {} : { apiRoot: entry.root }),
    ...(entry.insecure ? { insecure: true } : {}),
    ...mannerOf(entry, isOther ? { namespace: repository.host } : {}),
  };
}

/** What the file says of how a host is spoken to; nothing when it says nothing. */
function mannerOf(
  { ca, clients, headers, dialTimeoutMs, proxy }: HostSettings,
  more: Manner,
): { readonly manner?: Manner } {
  let read: ReturnType<NonNullable<Manner["tls"]>> | null = null;
  const manner: Manner = {
    ...more,
    ...(ca.length + clients.length === 0
      ? {}
      : {
          tls: () =>
            (read ??= (async () => ({
              ca: ca.map(readPem),
              clients: await Promise.all(clients.map(readClient)),
            }))()),
        }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(dialTimeoutMs === null ? {} : { dialTimeoutMs }),
    ...(proxy === null ? {} : { proxy }),
  };
  return Object.keys(manner).length === 0 ? {} : { manner };
}

/** A repository in a mirror, with the name it has below "host[:port][/namespace]". */
function below(repository: Repository, mirror: string): Repository {
  const { insecure: _own, ...plain } = repository;
  const [, scheme = "", host = "", namespace = ""] = /^(https?:\/\/)?([^/]*)\/?(.*?)\/*$/.exec(mirror) ?? [];
  return {
    ...plain,
    host: `${scheme}${host}`,
    repository: namespace === "" ? plain.repository : `${namespace}/${plain.repository}`,
  };
}

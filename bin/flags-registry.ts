// Registry access: flags, and the paths of the user's and the machine's configuration files.

import { join } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import type { FlagSpec, ParsedFlags } from "./args.ts";
import type { EngineConfig, Environment, RegistrySettings } from "./engine/config.ts";

/** Of all commands that talk to registries. dockerd has the first two, buildah the third. */
export const REGISTRY_FLAGS: readonly FlagSpec[] = [
  {
    name: "insecure-registry",
    kind: "list",
    value: "host",
    help: "Registry without TLS, or with an untrusted certificate",
  },
  {
    name: "registry-mirror",
    kind: "list",
    value: "[host=]mirror",
    help: "Pull through a mirror of a registry (default: docker.io)",
  },
  {
    name: "cert-dir",
    kind: "list",
    value: "dir",
    help: "Directory with certificates and hosts.toml, like /etc/containers/certs.d",
  },
];

/** Flags of podman, buildah and skopeo about registries, and what there is in place of them. */
export const REGISTRY_FLAGS_OF_PODMAN = {
  "tls-verify": "name registries without TLS, or with an untrusted certificate: --insecure-registry HOST",
  creds: "use 'tsbuild login'",
  authfile: "set REGISTRY_AUTH_FILE, or use 'tsbuild login'",
};

/** Flags that a command does not have are as good as not given. Throws USAGE. */
export function registryFlags(flags: ParsedFlags): NonNullable<ConfigFlags["registries"]> {
  return {
    insecure: flags.all("insecure-registry").map((text) => {
      const host = text.replace(/^https?:\/\//, "").replace(/\/$/, "");
      if (host === "" || host.includes("/"))
        throw invalid("--insecure-registry", text, "the form is HOST[:PORT]");
      return host;
    }),
    mirrors: flags.all("registry-mirror").map((text) => {
      const [, host = "docker.io", mirror = ""] = /^(?:([^=/]+)=)?(.*)$/.exec(text) ?? [];
      const address = /^https?:\/\//.test(mirror) ? mirror : `http://${mirror}`;
      if (!/^https?:\/\/[^/\s?#=]+(?<!:)(?:\/[^\s?#]*)?$/.test(address) || !URL.canParse(address)) {
        throw invalid(
          "--registry-mirror",
          text,
          "the form is [HOST=]MIRROR[:PORT][/NAMESPACE], with or without http://",
        );
      }
      return { host, mirror };
    }),
    certDirs: flags.all("cert-dir"),
  };
}

function invalid(flag: string, value: string, hint: string): BuildError {
  return new BuildError(
    "USAGE",
    `invalid argument ${JSON.stringify(value)} for ${JSON.stringify(flag)} flag`,
    {
      hint,
    },
  );
}

/** Directories with a folder for each registry; the user's before the machine's. */
export function hostDirectories(env: Environment, home: string): readonly string[] {
  const user = userConfig(env, home);
  return [user, "/etc"].flatMap((top) =>
    ["containers", "docker", "containerd"].map((name) => join(top, name, "certs.d")),
  );
}

/** containers-registries.conf(5): the user's file stands in place of the machine's, its directory comes after. */
export function registriesFiles(env: Environment, home: string): RegistrySettings["conf"] {
  const user = join(userConfig(env, home), "containers");
  const system = "/etc/containers";
  const named = env.CONTAINERS_REGISTRIES_CONF;
  return {
    main: named ? [named] : [join(user, "registries.conf"), join(system, "registries.conf")],
    more: [join(system, "registries.conf.d"), join(user, "registries.conf.d")],
  };
}

function userConfig(env: Environment, home: string): string {
  return env.XDG_CONFIG_HOME || join(home, ".config");
}

/** Flags of a command that are in its Config. */
export interface ConfigFlags {
  readonly root: string | null;
  readonly debug: boolean;
  readonly verbose: boolean;
  readonly registries?: {
    readonly insecure: RegistrySettings["insecure"];
    readonly mirrors: RegistrySettings["mirrors"];
    readonly certDirs: readonly string[];
  };
  readonly notice?: EngineConfig["notice"];
}

import type { Credentials } from "../../solver/graph/request.ts";
export interface DockerConfigOptions {
    /** Files looked at in order, absolute: ~/.docker/config.json, $XDG_RUNTIME_DIR/containers/auth.json … Missing ones are skipped. */
    readonly files: readonly string[];
    /** Environment of the credential programs; PATH finds them. */
    readonly env: Readonly<Record<string, string | undefined>>;
}
/**
 * Returns a function that finds the credentials of a registry host (host[:port], docker.io for the Hub), or null.
 * Files are read on first use; each host is asked once. It throws REGISTRY_DENIED when a file or program is broken.
 */
export declare function dockerCredentials(options: DockerConfigOptions): (host: string) => Promise<Credentials | null>;

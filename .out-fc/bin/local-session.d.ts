import type { Session } from "../solver/graph/request.ts";
import type { Config, SecretSource, SshSource } from "./config.ts";
export interface LocalSessionOptions {
    /** Session directory name → absolute path. */
    readonly directories: ReadonlyMap<string, string>;
    readonly secrets: readonly SecretSource[];
    readonly ssh: readonly SshSource[];
}
/** Opens a session. Secret files and agent sockets are looked at now, so that a wrong path fails before the build
 *  (SECRET_MISSING, USAGE); secrets are read when a step asks for them. */
export declare function openLocalSession(config: Config, options: LocalSessionOptions): Session;

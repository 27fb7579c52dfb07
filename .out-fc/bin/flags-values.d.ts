import type { Platform } from "../solver/graph/op.ts";
import type { Environment, ExtraHost, SecretSource, SshSource, Ulimit } from "./config.ts";
/** One line of CSV as buildx reads it: a field may stand in double quotes, a doubled quote is one (RFC 4180). */
export declare function parseCsv(text: string): string[];
/** Bytes from "64m", "1.5GiB", "1024": units are powers of 1024, as docker's RAMInBytes has them. */
export declare function parseSize(text: string): number;
/** "nofile=1024:2048"; without the hard limit it is the soft one. -1: unlimited. */
export declare function parseUlimit(text: string): Ulimit;
/** "host:ip", "host=ip", IPv6 with or without brackets, or ip "host-gateway" (kept as that word). One value may hold several. */
export declare function parseHosts(values: readonly string[]): Promise<ExtraHost[]>;
/** "id=x,src=path", "id=x,env=NAME", "id=x" (a variable of that name, else a file), "type=env,id=x". */
export declare function parseSecret(text: string, env: Environment): SecretSource;
/** "default", "id=socket", "id=key1,key2". */
export declare function parseSsh(text: string): SshSource;
/** "linux/amd64", "arm64", "linux/arm/v7", "local"; normalized as containerd's platforms package does. */
export declare function parsePlatform(text: string): Platform;
/** --platform values (each may name several), in order, without doubles. */
export declare function parsePlatforms(values: readonly string[]): Platform[];
/** Node's names of this machine's architecture in OCI's words. */
export declare function hostPlatform(): Platform;
/** KEY=VALUE pairs, the last of a key wins. Without "=": the value of `env` when there is one (else left out), or "" without env. */
export declare function parsePairs(values: readonly string[], env: Environment | null): Map<string, string>;

import type { Credentials } from "../../solver/graph/request.ts";
import { type Transport } from "./transport.ts";
export interface Challenge {
    readonly scheme: string;
    readonly params: ReadonlyMap<string, string>;
}
/** Where requests of one registry go. */
export interface Endpoint {
    /** As users write it; the key of credentials. */
    readonly host: string;
    readonly origin: string;
    readonly verifyTls: boolean;
}
export interface Authorizer {
    /** Authorization header for a request to the endpoint, as far as known without a new challenge; null: none. */
    header(endpoint: Endpoint, scopes: readonly string[], options: {
        readonly signal: AbortSignal;
    }): Promise<string | null>;
    /**
     * Learns from a 401. True: `header` will now give something else than `used`. Throws REGISTRY_DENIED when the token
     * service refuses.
     */
    learn(endpoint: Endpoint, challenges: readonly Challenge[], scopes: readonly string[], used: string | null, options: {
        readonly signal: AbortSignal;
    }): Promise<boolean>;
}
/** Keeps tokens of all registries of one client. Credentials are asked for on the first challenge of a host. */
export declare function openAuthorizer(credentials: (host: string) => Promise<Credentials | null>, transport: Transport): Authorizer;
/**
 * May a token service see the credentials of a registry? It must be the same site: the same host, one below the
 * other, or siblings below one registrable domain. The registry alone names the service, so without this rule a
 * registry on a shared domain could send its users' passwords anywhere.
 */
export declare function isTokenServiceOf(endpoint: Endpoint, realm: URL): boolean;
/** What to do about missing rights. */
export declare function loginHint(host: string): string;
/** Reads WWW-Authenticate: scheme and parameters of each challenge; what it cannot read it leaves out. One pass. */
export declare function parseChallenges(header: string | undefined): readonly Challenge[];

import { type Digest } from "../../solver/graph/digest.ts";
/** A repository of a registry. */
export interface Repository {
    /** As users write it: docker.io, ghcr.io, localhost:5000, [::1]:5000. */
    readonly host: string;
    /** library/alpine */
    readonly repository: string;
    /** Registry without a checked certificate, or without TLS (`registry.insecure=true`). */
    readonly insecure?: boolean;
}
export interface Reference extends Repository {
    readonly tag: string | null;
    readonly digest: Digest | null;
}
/**
 * Parses a reference as a user writes it: short names are of Docker Hub ("alpine" is docker.io/library/alpine).
 * Neither tag nor digest is made up; see `withDefaultTag`. Throws REFERENCE_INVALID in the words of distribution/reference.
 */
export declare function parseReference(text: string): Reference;
/** The same reference with tag "latest" where it has neither tag nor digest. */
export declare function withDefaultTag(reference: Reference): Reference;
/** Full text: docker.io/library/alpine:3.20@sha256:… */
export declare function formatReference(reference: Reference): string;
/** "docker.io/library/alpine": what `RemoteBlob.from` holds for a registry. */
export declare function formatRepository(repository: Repository): string;
/** Short text as `docker images` prints it: alpine:3.20, user/app, ghcr.io/o/app. */
export declare function familiarReference(reference: Reference): string;
/** Is the registry on this machine, so that plain http is meant? localhost, 127.0.0.0/8 and [::1], with any port. */
export declare function isLoopbackHost(host: string): boolean;
/** Host that speaks the distribution API: Docker Hub's is registry-1.docker.io. */
export declare function apiHost(host: string): string;

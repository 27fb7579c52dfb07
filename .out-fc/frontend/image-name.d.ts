/** A name with its domain and, under docker.io, its "library/". */
export interface ImageName {
    readonly domain: string;
    readonly path: string;
    readonly tag: string | null;
    readonly digest: string | null;
}
/** Reads a name. Throws REFERENCE_INVALID. */
export declare function parseImageName(text: string): ImageName;
/** domain/path[:tag][@digest]; without tag and digest ":latest" is added. */
export declare function formatImageName(name: ImageName): string;
/** The short form people write, as --build-context has its names: no docker.io/library, no ":latest". */
export declare function familiarImageName({ domain, path, tag, digest }: ImageName): string;

export type NetworkHelper = {
    readonly kind: "pasta" | "slirp4netns";
    readonly file: string;
}
/** Steps with the default network use the host's; `why` says what is missing, with the fix. */
 | {
    readonly kind: "none";
    readonly why: string;
};
/** Looks in `path` for pasta, then slirp4netns, and whether this user may make tap devices. A few stat calls. */
export declare function findNetworkHelper(path: string): NetworkHelper;

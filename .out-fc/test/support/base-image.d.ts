/** Account of the image besides root. */
export declare const APP: {
    readonly name: "app";
    readonly uid: 1000;
    readonly gid: 1000;
};
/** Writes the layout into `dir` (made) with the tag `latest`. Image: busybox with all its applets, users root and app. */
export declare function writeBaseImage(dir: string): Promise<void>;

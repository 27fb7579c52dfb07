import { type TarMember } from "../../../cache/layers/tar-write.ts";
export interface Member extends Partial<Omit<TarMember, "name" | "linkName" | "size">> {
    readonly name: string | Buffer;
    readonly link?: string;
    readonly content?: string | Buffer;
}
/** A tar of these members; type is "file" unless it says otherwise. */
export declare function makeTar(members: readonly Member[]): Buffer;
/** A function that makes directories which are removed after each test. */
export declare function temporary(): () => string;
/** What lies below a directory, as lines "path type mode uid:gid [content or target]", sorted. */
export declare function listTree(dir: string, below?: string): string[];
/** Output of a program; throws when it fails. */
export declare function run(command: string, args: readonly string[], input?: Buffer): Buffer;
export declare const isRoot: boolean;

import type { TarType } from "./tar.ts";
/** A member to be written. Times in whole seconds: layers hold no fractions. */
export interface TarMember {
    readonly name: Buffer;
    readonly linkName: Buffer | null;
    readonly type: TarType;
    readonly mode: number;
    readonly uid: number;
    readonly gid: number;
    readonly size: number;
    readonly mtimeSeconds: number;
    readonly devMajor: number;
    readonly devMinor: number;
    readonly xattrs: ReadonlyMap<string, Buffer> | null;
}
/** What a member's header takes at most besides its records: used to size buffers. */
export declare const TAR_HEADER_MAX_BYTES: number;
/** Writes the header of a member into `into` at `at`, pax header included; returns the position behind it.
 *  Needs TAR_HEADER_MAX_BYTES of room. */
export declare function writeHeader(into: Buffer, at: number, member: TarMember): number;

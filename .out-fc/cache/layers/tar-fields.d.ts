import { BuildError } from "../../solver/graph/error.ts";
/** Longest name or link text of a member: no Linux call takes more (PATH_MAX). */
export declare const TAR_NAME_MAX_BYTES = 4096;
/** Data pieces of one sparse file. */
export declare const TAR_SPARSE_MAX_PIECES: number;
export declare const NS = 1000000000n;
export declare function invalid(why: string): BuildError;
export declare function isZero(raw: Buffer): boolean;
/** Sum of all bytes with spaces for the field itself; old programs summed signed bytes. */
export declare function verifyChecksum(raw: Buffer): void;
/** A numeric field: octal text or, with the top bit set, base-256 in two's complement. */
export declare function numeric(raw: Buffer, at: number, length: number): number;
export declare function isBlank(byte: number): boolean;
export declare function base256(field: Buffer): number;
export declare function safe(value: number): number;
export declare function modulo(value: number, by: number): number;
/** uid or gid: 32 bits, and -1 means "leave it" to chown(2). */
export declare function id(value: number): number;
export declare function untilNul(field: Buffer): Buffer;
export declare function checkName(name: Buffer, what: string): Buffer;
/** Records of a pax header: "length key=value\n". POSIX pax, "pax Header Block". */
export declare function parsePax(body: Buffer): {
    records: Map<string, Buffer>;
    pieces: Buffer[];
};
/** A record's value; an empty one means the header's own field counts. */
export declare function text(records: ReadonlyMap<string, Buffer>, key: string): Buffer | null;
export declare function decimal(records: ReadonlyMap<string, Buffer>, key: string): number | null;
export declare function wholeNumber(digits: string): number;
export declare function paxTime(records: ReadonlyMap<string, Buffer>, key: string): bigint | null;
export declare function xattrsOf(records: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Buffer>;

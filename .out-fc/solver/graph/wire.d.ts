import Pbf from "pbf";
declare const VARINT = 0;
declare const LENGTH_DELIMITED = 2;
/** One field of a message. `empty` is the value when the bytes have none; `read` gets what was read so far. */
export interface Field<T> {
    readonly number: number;
    readonly wireType: typeof VARINT | typeof LENGTH_DELIMITED;
    empty(): T;
    write(pbf: Pbf, value: T): void;
    read(pbf: Pbf, before: T, depth: number): T;
}
/** Read and written by the same table entry, so the types agree. */
type AnyField = Field<unknown>;
export interface Message<T> {
    readonly fields: readonly (readonly [string, AnyField])[];
    readonly type?: T;
}
/** The plain object a message table describes. */
export type Value<M> = M extends Message<infer T> ? T : never;
/** The same for writing: fields left out count as empty, at every depth. */
export type Sparse<T> = T extends Uint8Array | string | number | bigint | boolean | null ? T : T extends ReadonlyMap<string, infer V> ? ReadonlyMap<string, Sparse<V>> : T extends readonly (infer E)[] ? readonly Sparse<E>[] : {
    readonly [K in keyof T]?: Sparse<T[K]>;
};
/** A message out of its fields; unknown fields in bytes are refused, since they could change the meaning. */
export declare function message<F extends Record<string, AnyField>>(fields: F): Message<{
    [K in keyof F]: F[K] extends Field<infer T> ? T : never;
}>;
/** Bytes of a value. */
export declare function encode<T>(type: Message<T>, value: Sparse<T>): Uint8Array;
/** The value of some bytes. Throws USAGE when they are not this message, or hold fields the table does not have. */
export declare function decode<T>(type: Message<T>, data: Uint8Array, what: string): T;
export declare function text(number: number): Field<string>;
export declare function bytes(number: number): Field<Uint8Array>;
export declare function flag(number: number): Field<boolean>;
/** int32, int64, uint32 and enums whose values stay below 2^53. */
export declare function int(number: number): Field<number>;
/** A member of a oneof: zero is a value, null is absent. */
export declare function presentInt(number: number): Field<number | null>;
/** int64 with all its bits. */
export declare function long(number: number): Field<bigint>;
/** A message inside a message; null is absent, an empty one is written. */
export declare function sub<T>(number: number, type: Message<T>): Field<T | null>;
/** A message kept in another form on our side; `from` may throw a BuildError for what makes no sense. */
export declare function mapped<T, R>(number: number, type: Message<R>, to: (value: T) => Sparse<NoInfer<R>>, from: (raw: NoInfer<R>) => T): Field<T | null>;
/** A repeated field. Elements that are zero are written too. */
export declare function list<T>(number: number, type: Message<T>): Field<readonly T[]>;
export declare function texts(number: number): Field<readonly string[]>;
export declare function blobs(number: number): Field<readonly Uint8Array[]>;
/** Repeated numbers: packed, as proto3 writes them. */
export declare function ints(number: number): Field<readonly number[]>;
/** map<string, T>: entries are messages of key = 1 and value = 2, both always written. */
export declare function map<T>(number: number, valueField: Field<T>): Field<ReadonlyMap<string, T>>;
export {};

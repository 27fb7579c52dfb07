// The data types of ssh messages, used by keys, signatures and the agent protocol (RFC 4251, section 5).

/** Each field behind its length. */
export function strings(...fields: readonly Buffer[]): Buffer {
  return Buffer.concat(fields.flatMap((field) => [uint32(field.length), field]));
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A number of any size that is not negative (mpint): no zeros in front, but one where the first bit is set. */
export function mpint(bytes: Buffer): Buffer {
  const plain = unsigned(bytes);
  return (plain[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), plain]) : plain;
}

/** The bytes of a number without the zeros in front. */
export function unsigned(bytes: Buffer): Buffer {
  const start = bytes.findIndex((byte) => byte !== 0);
  return start < 0 ? Buffer.alloc(0) : bytes.subarray(start);
}

/** Takes fields off a message, one after the other. */
export interface FieldReader {
  uint32(): number;
  /** A view, not a copy. */
  bytes(): Buffer;
  text(): string;
}

/** Reads fields; a RangeError when there are too few bytes. */
export function readFields(data: Buffer): FieldReader {
  let at = 0;
  const number = (): number => {
    at += 4;
    return data.readUInt32BE(at - 4);
  };
  const bytes = (): Buffer => {
    const length = number();
    if (length > data.length - at) throw new RangeError("a field is truncated");
    at += length;
    return data.subarray(at - length, at);
  };
  return { uint32: number, bytes, text: () => bytes().toString("utf8") };
}

// CRC-64 with the polynomial of ISO 3309, as Go's hash/crc64 has it (crc64.ISO): tar-split names the contents of files by it.
//
// The polynomial x^64 + x^4 + x^3 + x + 1 has so few terms that a word of 64 bits is taken in by shifts instead of eight look-ups in
// a table. Bits are reflected: the lowest one is the highest power of x. A sum is two halves of 32 bits, high and low.

import { endianness } from "node:os";

const ISO = 0xd800_0000_0000_0000n;

/** Bits that are shifted out of a word are x^64 and more, and come back into its first byte: by the lowest four of its bits. */
const CARRIED = Int32Array.from({ length: 16 }, (_, bits) => {
  let product = BigInt(bits);
  for (let step = 0; step < 64; step++) product = (product >> 1n) ^ ((product & 1n) * ISO);
  return Number(product >> 56n) << 24;
});

export class Crc64 {
  #high = -1;
  #low = -1;

  update(data: Uint8Array): this {
    const words = IS_LITTLE_ENDIAN && (data.byteOffset & 3) === 0 ? data.length >> 3 : 0;
    if (words > 0) this.#words(new Int32Array(data.buffer, data.byteOffset, words * 2));
    let [high, low] = [this.#high, this.#low];
    for (let at = words * 8; at < data.length; at++) {
      low ^= data[at] as number;
      for (let bit = 0; bit < 8; bit++) {
        const carry = -(low & 1);
        low = (low >>> 1) | (high << 31);
        high = (high >>> 1) ^ (carry & POLYNOMIAL_HIGH);
      }
    }
    [this.#high, this.#low] = [high, low];
    return this;
  }

  #words(words: Int32Array): void {
    let [high, low] = [this.#high, this.#low];
    for (let at = 0; at < words.length; at += 2) {
      low ^= words[at] as number;
      high ^= words[at + 1] as number;
      const next = high ^ (high >>> 1) ^ (high >>> 3) ^ (high >>> 4) ^ (CARRIED[low & 15] as number);
      low ^= ((low >>> 1) | (high << 31)) ^ ((low >>> 3) | (high << 29)) ^ ((low >>> 4) | (high << 28));
      high = next;
    }
    [this.#high, this.#low] = [high, low];
  }

  /** Eight bytes, the highest first. */
  digest(): Buffer {
    const sum = Buffer.alloc(8);
    sum.writeInt32BE(~this.#high, 0);
    sum.writeInt32BE(~this.#low, 4);
    return sum;
  }
}
const POLYNOMIAL_HIGH = 0xd800_0000 | 0;
const IS_LITTLE_ENDIAN = endianness() === "LE";

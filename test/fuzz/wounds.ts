// Well-formed inputs with wounds: of bytes, and for JSON also of values, which leave it JSON.

import fc from "fast-check";

const place = fc.double({ min: 0, max: 1, noNaN: true });
const wound = fc.record({
  kind: fc.constantFrom("set", "drop", "double", "cut", "insert"),
  at: place,
  length: fc.integer({ min: 1, max: 40 }),
  byte: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(...Buffer.from('"\\{}[]:,\0 \n/.@*9-'))),
});

/** One of the seeds with some bytes changed, taken out, doubled or cut off; one that is JSON at times with other values in it. */
export function woundedOf(seeds: readonly (string | Uint8Array)[]): fc.Arbitrary<Buffer> {
  const bytes = seeds.map((seed) => Buffer.from(seed as Uint8Array));
  const values = bytes.flatMap((seed) => valueIn(seed) ?? []);
  if (values.length === 0) return woundedBytes(bytes);
  const documents = woundedJson(values).map((value) => Buffer.from(JSON.stringify(value) ?? "null"));
  return fc.oneof(woundedBytes(bytes), { arbitrary: documents, weight: 2 });
}

function valueIn(seed: Buffer): object | null {
  if (seed[0] !== 0x7b) return null;
  try {
    return JSON.parse(seed.toString()) as object;
  } catch {
    return null; // bytes that begin like JSON
  }
}

function woundedBytes(seeds: readonly Buffer[]): fc.Arbitrary<Buffer> {
  return fc
    .tuple(fc.constantFrom(...seeds), fc.array(wound, { minLength: 1, maxLength: 6 }))
    .map(([start, wounds]) =>
      wounds.reduce((data, { kind, at, length, byte }) => {
        const from = Math.floor(at * data.length);
        const [head, hit, tail] = [
          data.subarray(0, from),
          data.subarray(from, from + length),
          data.subarray(from + length),
        ];
        switch (kind) {
          case "set":
            return Buffer.concat([head, Buffer.alloc(Math.min(1, hit.length), byte), hit.subarray(1), tail]);
          case "drop":
            return Buffer.concat([head, tail]);
          case "double":
            return Buffer.concat([head, hit, hit, tail]);
          case "cut":
            return head;
          default:
            return Buffer.concat([head, Buffer.alloc(length, byte), hit, tail]);
        }
      }, start),
    );
}

/** Values that stand where others are expected. */
const ODD: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e300,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 53,
  "",
  "x",
  ".",
  "..",
  "../x",
  "/",
  "a/b",
  "\0",
  "\ud800",
  "😀",
  "-1",
  `sha256:${"0".repeat(64)}`,
  "sha256:0",
  "a".repeat(300),
  [],
  {},
  [[]],
  [null],
  { a: 1 },
];
/** Names of what every object has already. */
const NAMES = ["__proto__", "constructor", "toString", "length", "", "mediaType", "digest"];

const jsonWound = fc.record({
  kind: fc.constantFrom("replace", "replace", "drop", "double", "rename", "wrap"),
  at: place,
  odd: fc.constantFrom(...ODD),
  name: fc.constantFrom(...NAMES),
});

/** One of the values, with some of those in it replaced, taken out, doubled, wrapped or under another name. */
export function woundedJson<T extends object>(values: readonly T[]): fc.Arbitrary<unknown> {
  return fc
    .tuple(fc.constantFrom(...values), fc.array(jsonWound, { minLength: 1, maxLength: 4 }))
    .map(([start, wounds]) => {
      // Below one more object, so that the whole is a value like the others.
      const root = { value: structuredClone(start) as unknown };
      for (const { kind, at, odd, name } of wounds) {
        const places = placesIn(root);
        const [holder, key] = places[Math.min(places.length - 1, Math.floor(at * places.length))] as Place;
        const value = holder[key];
        if (kind === "replace") set(holder, key, structuredClone(odd));
        else if (kind === "wrap") set(holder, key, [value]);
        else if (holder === root) continue;
        else if (Array.isArray(holder)) holder.splice(Number(key), kind === "drop" ? 1 : 0, value);
        else {
          if (kind !== "double") delete holder[key];
          if (kind !== "drop") set(holder, name, value);
        }
      }
      return root.value;
    });
}

type Holder = Record<string, unknown>;
type Place = readonly [holder: Holder, key: string];

/** Also `__proto__` as a key like any other, as JSON.parse makes it. */
function set(holder: Holder, key: string, value: unknown): void {
  Object.defineProperty(holder, key, { value, writable: true, enumerable: true, configurable: true });
}

function placesIn(value: unknown): Place[] {
  if (typeof value !== "object" || value === null) return [];
  const holder = value as Holder;
  return Object.keys(holder).flatMap((key): Place[] => [[holder, key], ...placesIn(holder[key])]);
}

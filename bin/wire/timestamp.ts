// google.protobuf.Timestamp from and to milliseconds, and the header that tells clients the daemon's clock.

import { create } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";

/** Of milliseconds since 1970, which may have fractions. */
export function timestamp(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1000);
  return create(TimestampSchema, {
    seconds: BigInt(seconds),
    nanos: Math.round((ms - seconds * 1000) * 1e6),
  });
}

/** Milliseconds since 1970. */
export function millisecondsOf({ seconds, nanos }: Timestamp): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}

/** Of the answers of Status and ListenBuildHistory: clients read times in them by it. */
export function clockHeader(): Readonly<Record<string, string>> {
  return { "buildkit-current-timestamp": new Date().toISOString() };
}

// ProgressEvent: all that rooms report. Only bin/ turns events into text.

import type { Digest } from "./digest.ts";
import type { BuildError, SourceRange } from "./error.ts";

export type ProgressEvent =
  | {
      readonly kind: "vertex";
      readonly vertex: Digest;
      readonly name: string;
      readonly inputs: readonly Digest[];
      readonly at: readonly SourceRange[];
    }
  | {
      readonly kind: "started" | "cached" | "done" | "cancelled";
      readonly vertex: Digest;
      readonly atMs: number;
    }
  | { readonly kind: "failed"; readonly vertex: Digest; readonly atMs: number; readonly error: BuildError }
  | {
      readonly kind: "log";
      readonly vertex: Digest;
      readonly atMs: number;
      readonly fd: 1 | 2;
      readonly data: Uint8Array;
    }
  | {
      readonly kind: "bytes"; // transfer inside a step: a layer download, an upload
      readonly vertex: Digest;
      readonly label: string;
      readonly atMs: number;
      readonly current: number;
      readonly total: number | null;
      readonly done: boolean;
    }
  | { readonly kind: "usage"; readonly vertex: Digest; readonly cpuMs: number; readonly peakBytes: number }
  | {
      readonly kind: "warning";
      readonly rule: string; // name of the build check; "" for others
      readonly message: string;
      readonly detail: string;
      readonly url: string;
      readonly at: readonly SourceRange[];
    }
  /** One line said once, in verbose output only (which sandbox, which network and why). */
  | { readonly kind: "note"; readonly message: string };

export type Emit = (event: ProgressEvent) => void;

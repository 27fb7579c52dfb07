// Ctrl-C and its kin: the first aborts and is waited for, the second leaves at once.

import { constants } from "node:os";

export interface Signals {
  readonly signal: AbortSignal;
  /** 128 + number of the signal that came, or null. */
  exitCode(): number | null;
}

/** What the abort signal's reason is. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** Listens for SIGINT, SIGTERM and SIGHUP until the process ends. */
export function listenForSignals(): Signals {
  const controller = new AbortController();
  let code: number | null = null;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      const again = code !== null;
      code ??= 128 + constants.signals[name];
      if (again) process.exit(code);
      controller.abort(new Interrupted(`stopped by ${name}`));
    });
  }
  return { signal: controller.signal, exitCode: () => code };
}

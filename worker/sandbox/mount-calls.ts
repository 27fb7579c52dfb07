// Calls of programs of steps that make mounts.

import type { Label, Program } from "../launcher/program.ts";
import { STEP_FD } from "../launcher/step-fd.ts";
import { AT, FSCONFIG } from "../sys/constants.ts";

/** A mount to be made of a file system of its own. */
export interface NewMount {
  /** Of the file system: "tmpfs". */
  readonly type: string;
  readonly options?: readonly (readonly [key: string, value: string])[];
  readonly attributeBits: number;
  /** For messages: "mounting …". */
  readonly what: string;
  /** Where to go on when it cannot be made; left out: the program ends. */
  readonly onError?: Label;
  /** Keys of options that need not be taken. */
  readonly ignored?: readonly string[];
}

/** fsopen, options, fsmount: a detached mount at descriptor `fd`. */
export function newMount(
  program: Program,
  fd: number,
  { type, options = [], attributeBits, what, ignored = [], ...failing }: NewMount,
): void {
  const context = STEP_FD.fsContext;
  program.open(context, "fsopen", [type, 1], { what: `mounting ${what}`, ...failing });
  for (const [key, value] of options) {
    program.call("fsconfig", [context, FSCONFIG.SET_STRING, key, value, 0], {
      what: `mounting ${what} (${key}=${value})`,
      ...(ignored.includes(key) ? { onError: "ignore" } : failing),
    });
  }
  program.call("fsconfig", [context, FSCONFIG.CMD_CREATE, 0, 0, 0], { what: `mounting ${what}`, ...failing });
  program.open(fd, "fsmount", [context, 1, attributeBits], { what: `mounting ${what}`, ...failing });
}

/** Adds attributes to a detached mount. */
export function setAttributes(program: Program, fd: number, set: number, recursive: boolean): void {
  program.call(
    "mount_setattr",
    [fd, "", AT.EMPTY_PATH | (recursive ? AT.RECURSIVE : 0), attributes(set), 32],
    {
      what: "changing mount attributes",
    },
  );
}

/** struct mount_attr, mount_setattr(2). */
export function attributes(set: number): Uint8Array {
  return words(BigInt(set), 0n, 0n, 0n);
}

/** Numbers as 8 bytes each. */
export function words(...values: bigint[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 8);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => view.setBigUint64(index * 8, value, true));
  return bytes;
}

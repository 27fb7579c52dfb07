// All functions that threads of the keeper call, bound at once. Each module here binds its functions when it is loaded; Node-API aborts
// the whole process if a thread is terminated meanwhile, which cannot happen to a thread that has bound all of them (keeper/threads.ts).

import { openat } from "./file.ts";
import { ioctl } from "./ioctl.ts";
import { overlayMount } from "./mount.ts";

/** Loads the native code and binds all of it. Throws where there is none for this machine. */
export function bindAll(): void {
  for (const one of [openat, ioctl, overlayMount])
    if (typeof one !== "function") throw new Error("not bound");
}

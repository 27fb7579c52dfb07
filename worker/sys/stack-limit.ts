// How many layers overlayfs can mount. Without native code: the front uses it as well.

import { release } from "node:os";

/** Does overlayfs know "lowerdir+"? Since Linux 6.5. Asked of the version, because an older kernel takes any option in
 *  fsconfig(2) and fails the mount with EINVAL, as it does for many other reasons. */
export const TAKES_PARTS: boolean = takesParts(release());

export function takesParts(version: string): boolean {
  const [major = 0, minor = 0] = version.split(/[.-]/).map(Number);
  return major > 6 || (major === 6 && minor >= 5);
}

/** OVL_MAX_STACK of fs/overlayfs/params.h; before Linux 6.5 all names have to fit into the one page of mount(2), with 18 bytes each. */
export const STACK_MAX: number = TAKES_PARTS ? 500 : 210;

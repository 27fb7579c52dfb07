// Checks requirements of tests. A missing one is a failure that says how to fix it, never a silent skip:
// test/setup.sh, which `npm test` runs first, installs everything or lists what is missing.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Program to the Debian and Ubuntu package that has it; the same table as in test/setup.sh. */
const PACKAGES: Readonly<Record<string, string>> = {
  busybox: "busybox-static",
  bzip2: "bzip2",
  crun: "crun",
  "db5.3_load": "db5.3-util",
  "docker-registry": "docker-registry",
  git: "git",
  newuidmap: "uidmap",
  openssl: "openssl",
  pasta: "passt",
  python3: "python3",
  "qemu-aarch64-static": "qemu-user-static",
  "qemu-x86_64-static": "qemu-user-static",
  rpm: "rpm",
  rpmbuild: "rpm",
  runc: "runc",
  script: "bsdutils",
  skopeo: "skopeo",
  slirp4netns: "slirp4netns",
  "ssh-add": "openssh-client",
  umoci: "umoci",
  xz: "xz-utils",
  zstd: "zstd",
};

/** Absolute path of a program. Throws with the package to install. */
export function needs(program: keyof typeof PACKAGES): string {
  const path = `${process.env.PATH ?? ""}:/usr/sbin:/sbin`;
  for (const dir of path.split(delimiter)) {
    const file = join(dir || ".", program);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this directory: the next one may have it.
    }
  }
  throw new Error(
    `${program} is missing: apt-get install ${PACKAGES[program]} (as root), or run test/setup.sh`,
  );
}

// The stock client of the daemon: docker buildx, which test/setup.sh unpacks from Debian's newest suite.

import { existsSync } from "node:fs";
import { join } from "node:path";

/** Absolute path of docker-buildx, which is a program of its own. Throws with what to do where it is missing. */
export function buildxProgram(): string {
  const tools = process.env.TSBUILD_TEST_TOOLS ?? "/var/tmp/tsbuild-test-tools";
  const path = join(tools, "usr/libexec/docker/cli-plugins/docker-buildx");
  if (!existsSync(path)) throw new Error(`docker-buildx is missing in ${tools}: run test/setup.sh`);
  return path;
}

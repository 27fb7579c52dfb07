// Engine settings for tests: of this user, without registries or keys.

import { userInfo } from "node:os";
import type { EngineConfig } from "../../../bin/engine/config.ts";

/** For a store at `root`. */
export function testConfig(root: string): EngineConfig {
  const { uid, gid, username: name } = userInfo();
  const nothing = async (): Promise<never> => {
    throw new Error("nobody asks for keys");
  };
  return {
    root,
    user: { uid, gid, name },
    env: { PATH: process.env.PATH },
    verbose: false,
    registries: { insecure: [], mirrors: [], hostDirs: [], conf: { main: [], more: [] } },
    notice: () => {},
    cacheKeys: { s3: nothing, actions: nothing },
  };
}

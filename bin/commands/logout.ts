// tsbuild logout: removes the credentials of a registry from docker's configuration.

import { join } from "node:path";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: { usage: "[SERVER]", positionals: { min: 0, max: 1 }, flags: [] },
  async run(flags, { config, signal, print }) {
    const { loginServer, forgetCredentials } = await import("../../cache/registry/docker-login.ts");
    const server = loginServer(flags.positionals[0] ?? "");
    print(`Removing login credentials for ${server.key}\n`);
    const path = join(config.dockerConfigDir, "config.json");
    await forgetCredentials(path, server, { env: config.env, signal });
    return 0;
  },
};

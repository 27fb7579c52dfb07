// What was asked, checked and frozen: flags, environment and defaults become these values once, here in bin/.
// The engine gets them and never looks at the environment or the command line itself.
import { homedir } from "node:os";
import { join, resolve } from "node:path";
/** Flags and environment to a Config. root: --root, TSBUILD_ROOT, else /var/lib/tsbuild for root and the user's data directory for others. */
export function readConfig(given, env, cwd) {
    const home = env.HOME || homedir();
    const dataDir = env.XDG_DATA_HOME || join(home, ".local", "share");
    const root = given.root ||
        env.TSBUILD_ROOT ||
        (process.getuid?.() === 0 ? "/var/lib/tsbuild" : join(dataDir, "tsbuild"));
    return Object.freeze({
        root: resolve(cwd, root),
        dockerConfigDir: resolve(cwd, env.DOCKER_CONFIG || join(home, ".docker")),
        env,
        debug: given.debug,
        verbose: given.verbose,
    });
}
//# sourceMappingURL=config.js.map
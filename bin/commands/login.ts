// tsbuild login: verifies user and password with the registry, then stores them where docker does. Messages and rules are those of docker login.

import { join } from "node:path";
import type { LoginServer } from "../../cache/registry/docker-login.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { ParsedFlags } from "../args.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import type { Command, CommandContext } from "../command.ts";

/** A password; tokens of some services have some kilobytes. */
const PASSWORD_MAX_BYTES = 64 << 10;

interface Login {
  readonly username: string;
  readonly password: string;
}

export const command: Command = {
  flags: {
    usage: "[OPTIONS] [SERVER]",
    positionals: { min: 0, max: 1 },
    flags: [
      ...REGISTRY_FLAGS,
      { name: "username", short: "u", kind: "string", help: "Username" },
      {
        name: "password",
        short: "p",
        kind: "string",
        help: "Password or access token (visible to other users)",
      },
      { name: "password-stdin", kind: "bool", help: "Read the password or access token from standard input" },
    ],
  },
  async run(flags, context) {
    const { loginServer, keepCredentials } = await import("../../cache/registry/docker-login.ts");
    const server = loginServer(flags.positionals[0] ?? "");
    const given = await givenLogin(flags, context);
    const known = given.username === "" && given.password === "" ? await keptLogin(server, context) : null;
    if (known !== null && (await isStillGood(server, known, context))) return succeeded(context);

    const login = await completed(given, known?.username ?? "", context);
    await tryLogin(server, login, context);
    const { config, signal, complain } = context;
    const path = join(config.dockerConfigDir, "config.json");
    const kept = await keepCredentials(path, server, login, { env: config.env, signal });
    if (kept.kind === "file") {
      complain(
        `\nWARNING! Your credentials are stored unencrypted in '${kept.path}'.\n` +
          "Configure a credential helper to remove this warning. See\n" +
          "https://docs.docker.com/go/credential-store/\n\n",
      );
    }
    return succeeded(context);
  },
};

function succeeded({ print }: CommandContext): number {
  print("Login Succeeded\n");
  return 0;
}

/** What the flags and standard input say; "" is what they do not. */
async function givenLogin(flags: ParsedFlags, { complain, signal }: CommandContext): Promise<Login> {
  const username = (flags.one("username") ?? "").trim();
  const password = flags.one("password") ?? "";
  if (password !== "") complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
  if (!flags.bool("password-stdin")) return { username, password };
  if (password !== "") throw usage("--password and --password-stdin are mutually exclusive");
  if (username === "") throw usage("Must provide --username with --password-stdin");
  const { readStandardInput } = await import("../prompt.ts");
  const text = (await readStandardInput(PASSWORD_MAX_BYTES, signal)).toString("utf8");
  return { username, password: text.replace(/\r?\n$/, "") };
}

async function keptLogin({ host }: LoginServer, { config, signal }: CommandContext): Promise<Login | null> {
  const { dockerCredentials } = await import("../../cache/registry/docker-config.ts");
  const files = [join(config.dockerConfigDir, "config.json")];
  const found = await dockerCredentials({ files, env: config.env, signal })(host);
  return found?.kind === "basic" && found.username !== "" && found.password !== "" ? found : null;
}

async function isStillGood(server: LoginServer, login: Login, context: CommandContext): Promise<boolean> {
  context.complain(
    `Authenticating with existing credentials... [Username: ${login.username}]\n\n` +
      "To login with a different account, run 'tsbuild logout' followed by 'tsbuild login'\n\n",
  );
  try {
    await tryLogin(server, login, context);
    return true;
  } catch (error) {
    if (!(error instanceof BuildError) || context.signal.aborted) throw error;
    context.complain(
      error.code === "REGISTRY_DENIED"
        ? "Stored credentials invalid or expired\n"
        : `Login did not succeed, error: ${error.message}\n`,
    );
    return false;
  }
}

async function completed(given: Login, usual: string, { signal }: CommandContext): Promise<Login> {
  if (given.username !== "" && given.password !== "") return given;
  if (!process.stdin.isTTY) {
    throw usage(
      "Cannot perform an interactive login from a non TTY device",
      "use --username with --password-stdin",
    );
  }
  const { ask } = await import("../prompt.ts");
  const question = usual === "" ? "Username: " : `Username (${usual}): `;
  const username = given.username || (await ask(question, { signal })).trim() || usual;
  if (username === "") throw usage("username is required");
  const password = given.password || (await ask("Password: ", { signal, hidden: true }));
  if (password === "") throw usage("password is required");
  return { username, password };
}

async function tryLogin(
  server: LoginServer,
  login: Login,
  { config, signal }: CommandContext,
): Promise<void> {
  const { openRegistryClient } = await import("../engine/registry-client.ts");
  const registry = await openRegistryClient(config, {
    credentials: async (host) => (host === server.host ? { kind: "basic", ...login } : null),
  });
  try {
    await registry.login(server.host, { signal });
  } finally {
    registry.close();
  }
}

function usage(message: string, hint: string | null = null): BuildError {
  return new BuildError("USAGE", message, { hint: hint ?? "see 'tsbuild login --help'" });
}

// tsbuild generate-key-pair: a key for `sign` in cosign's form, and the public one for those who verify.

import { generateKeyPairSync } from "node:crypto";
import { resolve } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { PASSWORD_FILE_FLAG, passwordOf } from "../signature-keys.ts";
import type { Command, CommandContext } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS]",
    positionals: { min: 0, max: 0 },
    flags: [
      {
        name: "output-key-prefix",
        kind: "string",
        value: "path",
        initial: '"cosign"',
        help: "Path of the files, without .key and .pub",
      },
      PASSWORD_FILE_FLAG,
    ],
  },
  async run(flags, context) {
    const prefix = flags.one("output-key-prefix") || "cosign";
    const [{ sealSigstoreKey }, { publicPem }, { writeNewFiles }] = await Promise.all([
      import("../../exporters/signature/sigstore-key.ts"),
      import("../../exporters/signature/keys.ts"),
      import("../../exporters/file-output.ts"),
    ]);
    const files = [
      { path: `${prefix}.key`, mode: 0o600, what: "Private" },
      { path: `${prefix}.pub`, mode: 0o644, what: "Public" },
    ];
    const makeKeys = async (): Promise<readonly string[]> => {
      const password = await newPassword(flags.one("password-file"), context);
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
      const der = privateKey.export({ format: "der", type: "pkcs8" });
      return [await sealSigstoreKey(der, password), publicPem(privateKey)];
    };
    await writeNewFiles(
      files.map(({ path, mode }) => ({ path: resolve(context.cwd, path), mode })),
      makeKeys,
      { signal: context.signal, hint: "use another name: --output-key-prefix PATH" },
    );
    for (const { path, what } of files) context.complain(`${what} key written to ${path}\n`);
    return 0;
  },
};

async function newPassword(file: string | null, context: CommandContext): Promise<Uint8Array> {
  const { env } = context.config;
  const given = await passwordOf(file, "Enter password for private key: ", context);
  if (given === null)
    throw new BuildError("USAGE", "the private key needs a password, and there is no terminal to ask on", {
      hint: "set COSIGN_PASSWORD (an empty one is one), or use --password-file",
    });
  if (file !== null || env["COSIGN_PASSWORD"] !== undefined) return given;
  const again = await passwordOf(null, "Enter password for private key again: ", context);
  if (again !== null && Buffer.compare(given, again) === 0) return given;
  throw new BuildError("USAGE", "the passwords are not the same");
}

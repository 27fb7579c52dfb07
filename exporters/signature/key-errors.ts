// What can be wrong with a key, in the words of the user. `name`: what the user knows it as.

import { BuildError } from "../../solver/graph/error.ts";

export function wrongPassword(name: string, cause: unknown): BuildError {
  return new BuildError("FILE_INVALID", `${name}: the key cannot be decrypted: the password is wrong`, {
    cause,
    hint: "the password is taken from COSIGN_PASSWORD or --password-file",
  });
}

export function invalid(
  name: string,
  problem: string,
  hint: string | null = null,
  cause?: unknown,
): BuildError {
  return new BuildError("FILE_INVALID", `${name}: ${problem}`, { hint, cause });
}

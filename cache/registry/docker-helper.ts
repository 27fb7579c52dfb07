// Credential helpers: docker-credential-NAME, with the commands get, store and erase.
// https://github.com/docker/docker-credential-helpers, "Development"

import { BuildError, printable } from "../../solver/graph/error.ts";
import { type ProgramOutcome, runProgram } from "../program.ts";

export interface HelperOptions {
  /** Environment of the credential programs; PATH finds them. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Ends the credential programs. */
  readonly signal: AbortSignal;
  /** Longest time for one of them; for tests. */
  readonly helperTotalMs?: number;
}

export interface HelperAnswer {
  readonly program: string;
  readonly code: number | null;
  /** Of `get` it may hold a secret. */
  readonly text: string;
}

const HELPER_MAX_BYTES = 1 << 20;
/** Somebody may have to type a password first. */
const HELPER_TOTAL_MS = 30_000;

/** Runs one to its end. Throws REGISTRY_DENIED when it cannot be run, says too much or does not end. */
export async function callHelper(
  name: string,
  verb: "get" | "store" | "erase",
  input: string,
  server: string,
  options: HelperOptions,
): Promise<HelperAnswer> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    throw new BuildError(
      "REGISTRY_DENIED",
      `not a valid credential helper name: ${JSON.stringify(printable(name, 80))}`,
    );
  }
  const program = `docker-credential-${name}`;
  const { end, code, output } = await run(program, verb, input, options);
  if (end !== "exit") {
    const why =
      end === "late"
        ? `did not answer within ${(options.helperTotalMs ?? HELPER_TOTAL_MS) / 1000} s`
        : `sent more than ${HELPER_MAX_BYTES} bytes`;
    throw new BuildError("REGISTRY_DENIED", `${program} ${why} for ${server}`, {
      hint: `try it manually: echo ${server} | ${program} get`,
    });
  }
  return { program, code, text: output.toString("utf8") };
}

/** Does it say that it knows nothing of a server? */
export function isUnknownServer(text: string): boolean {
  return /credentials not found|no credentials server URL|no credentials username/i.test(text);
}

export function helperFailed(program: string, server: string, text: string, byHand: string): BuildError {
  return new BuildError(
    "REGISTRY_DENIED",
    `${program} failed for ${server}: ${printable(text.trim(), 200)}`,
    { hint: `try it manually: ${byHand}` },
  );
}

async function run(
  program: string,
  verb: string,
  input: string,
  options: HelperOptions,
): Promise<ProgramOutcome> {
  try {
    return await runProgram(program, [verb], {
      env: options.env,
      input,
      signal: options.signal,
      totalMs: options.helperTotalMs ?? HELPER_TOTAL_MS,
      outputMaxBytes: HELPER_MAX_BYTES,
    });
  } catch (cause) {
    options.signal.throwIfAborted();
    throw new BuildError("REGISTRY_DENIED", `cannot run the credential helper ${program}`, {
      cause,
      hint: "it is set in docker's configuration; install it or remove it from the configuration",
    });
  }
}

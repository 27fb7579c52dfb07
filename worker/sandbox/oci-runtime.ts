// Finds the requested OCI runtime, and identifies it by its version output, before any step runs.

import { execFile } from "node:child_process";
import { isAbsolute } from "node:path";
import { accessSync, constants, statSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.ts";
import { findProgram } from "../keeper/userns.ts";

/** A program with the command line of runc: create, start and delete of an OCI bundle. */
export interface OciRuntime {
  readonly file: string; // absolute
  /** What it calls itself; "other" gets no arguments but those all runtimes have. */
  readonly kind: "crun" | "runc" | "other";
}

const VERSION_TIMEOUT_MS = 10_000;
/** Debian's names, which most distributions share. */
const PACKAGES: Readonly<Record<string, string>> = { crun: "crun", runc: "runc", youki: "youki" };

/** The runtime of that name in `path`, or at that absolute path. Throws SANDBOX_UNAVAILABLE when it is not there or is none. */
export async function findOciRuntime(name: string, path: string): Promise<OciRuntime> {
  const file = isAbsolute(name) ? name : findProgram(name, path);
  if (file === null || !isExecutable(file)) {
    const known = PACKAGES[name];
    throw new BuildError(
      "SANDBOX_UNAVAILABLE",
      isAbsolute(name)
        ? `the OCI runtime ${name} does not exist or cannot be executed`
        : `the OCI runtime "${name}" is not installed`,
      {
        hint:
          known === undefined
            ? "install crun or runc (apt-get install crun), or give the path of another runtime; without --oci-runtime, no runtime is needed"
            : `apt-get install ${known}; without --oci-runtime, no runtime is needed`,
      },
    );
  }
  const said = await versionOf(file);
  const word = /^\W*(\w+)/.exec(said)?.[1]?.toLowerCase();
  return { file, kind: word === "crun" || word === "runc" ? word : "other" };
}

/** How a runtime is told what a keeper needs. */
export interface RuntimeWays {
  /** Arguments before the command: where its state is, and that cgroups are none of its business. */
  readonly args: readonly string[];
  /** What it may see of cgroups: nothing, or the host's read-only. */
  readonly cgroups: "hidden" | "readonly";
  /** Whether the default devices stand in the config as mounts. */
  readonly deviceMounts: boolean;
}

/** The ways of a runtime whose state goes to `stateDir`. */
export function runtimeWays({ kind }: OciRuntime, stateDir: string): RuntimeWays {
  const state = ["--root", stateDir];
  switch (kind) {
    case "crun":
      return {
        args: ["--cgroup-manager=disabled", ...state],
        // Refuses a machine that has both versions ("hybrid mode not supported") even when told to leave them alone.
        cgroups: "hidden",
        // It assumes that it may create nodes when all ids are mapped, and takes what is there already.
        deviceMounts: true,
      };
    case "runc":
      return {
        // Cgroups it may not make are then no error; by itself it takes root with all ids for the machine's.
        args: ["--rootless=true", ...state],
        cgroups: "readonly",
        deviceMounts: false, // what is there already it tries to open (ENXIO for /dev/tty)
      };
    case "other":
      return { args: state, cgroups: "readonly", deviceMounts: false };
  }
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false; // whatever the reason, it cannot be used
  }
}

function versionOf(file: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(file, ["--version"], { timeout: VERSION_TIMEOUT_MS, cwd: "/" }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const why = stderr.trim().split("\n").at(-1) || error.message;
      reject(
        new BuildError("SANDBOX_UNAVAILABLE", `${file} is not an OCI runtime: --version failed: ${why}`, {
          hint: "a runtime must have runc's commands: --version, create, start, delete",
          cause: error,
        }),
      );
    });
  });
}

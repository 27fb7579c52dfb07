// A container for clients: the mounts of an exec op, with any number of processes on them. What they write is discarded.

import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { ExecOp } from "../../solver/graph/op.ts";
import type { CallContext, Result } from "../../solver/graph/request.ts";
import { Scope } from "../../solver/graph/scope.ts";
import type { ProcessIo } from "../keeper/contract.ts";
import type { ExecOutcome, LookAnswer, OtherNetwork, ProcessJob, TreeQuestion } from "../keeper/messages.ts";
import {
  checkEntitlements,
  DEFAULT_PATH,
  type FilesDeps,
  prepareFiles,
  readSecretEnv,
  withPath,
} from "./step-files.ts";

export interface ContainerDeps extends FilesDeps {
  /** The container had another network than the usual one. */
  readonly otherNetwork: (found: OtherNetwork, step: string) => void;
}

/** What runs in a container. An empty user is that of the first process. */
export interface ContainerProcess extends ProcessJob {
  readonly secretEnv: ExecOp["secretEnv"];
}

/** Disposing kills its processes and discards what they wrote. */
export interface Container extends AsyncDisposable {
  /** Runs a process; as KeptContainer.exec, and throws ENTITLEMENT_DENIED, SECRET_MISSING. */
  exec(process: ContainerProcess, io: ProcessIo): Promise<ExecOutcome>;
  /** Looks into a mount, by its place in the op. Throws as KeptContainer.look. */
  look(
    mount: number,
    path: string,
    question: TreeQuestion,
    options: { readonly signal: AbortSignal },
  ): Promise<LookAnswer>;
}

/** Opens the mounts of the op. `path`: of the processes that have none. Throws as a step does. */
export async function openContainer(
  op: ExecOp,
  inputs: readonly Result[],
  deps: ContainerDeps,
  context: CallContext,
  path: string = DEFAULT_PATH,
): Promise<Container> {
  const scope = new Scope(null);
  try {
    const vertex = digestOf(JSON.stringify(op.mounts));
    const { job, places } = await prepareFiles(op, inputs, { vertex, scope, deps }, context);
    const kept = scope.use(await deps.keeper().openContainer(job, { signal: context.signal }));
    return {
      async exec({ secretEnv, ...process }, io) {
        checkEntitlements({ ...op, security: process.security }, deps.entitlements);
        const secrets = await readSecretEnv(secretEnv, context);
        const env = [...withPath(process.env, path), ...secrets];
        const outcome = await kept.exec({ ...process, env }, io);
        if (outcome.otherNetwork !== undefined)
          deps.otherNetwork(outcome.otherNetwork, process.args.join(" "));
        return outcome;
      },
      async look(mount, path, question, options) {
        const asked = op.mounts[mount];
        const place = asked === undefined ? undefined : places.get(asked);
        if (place === undefined)
          throw new BuildError(
            "MOUNT_INVALID",
            `there is no mount ${mount}: the container has ${op.mounts.length}`,
          );
        return await kept.look(place, path, question, options);
      },
      [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose](),
    };
  } catch (error) {
    await scope[Symbol.asyncDispose]();
    throw error;
  }
}

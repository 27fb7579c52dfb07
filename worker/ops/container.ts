// A container for clients: the mounts of an exec op, with any number of processes on them. What they write is discarded.

import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { ExecOp } from "../../solver/graph/op.ts";
import type { CallContext, Result } from "../../solver/graph/request.ts";
import { Scope } from "../../solver/graph/scope.ts";
import type { Container } from "../contract.ts";
import type { OtherNetwork } from "../keeper/messages.ts";
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

interface ContainerContext extends CallContext {
  /** PATH of processes that have none. */
  readonly path: string | undefined;
  /** What is told of its mounts is told of this one. */
  readonly vertex: Digest;
}

/** Opens the mounts of the op. Throws as a step does. */
export async function openContainer(
  op: ExecOp,
  inputs: readonly Result[],
  deps: ContainerDeps,
  { path = DEFAULT_PATH, vertex, ...context }: ContainerContext,
): Promise<Container> {
  const scope = new Scope(null);
  try {
    const { job: mounted, places } = await prepareFiles(op, inputs, { vertex, scope, deps }, context);
    const kept = scope.use(await deps.keeper().openContainer(mounted, { signal: context.signal }));
    return {
      async exec({ secretEnv, ...job }, io) {
        checkEntitlements({ ...op, security: job.security }, deps.entitlements);
        const secrets = await readSecretEnv(secretEnv, context);
        const env = [...withPath(job.env, path), ...secrets];
        const outcome = await kept.exec({ ...job, env }, io);
        if (outcome.otherNetwork !== undefined) deps.otherNetwork(outcome.otherNetwork, job.args.join(" "));
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

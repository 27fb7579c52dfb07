// The mounts of a step in the keeper's format.

import { posix } from "node:path";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { saysWaiting } from "../../solver/graph/event.ts";
import { cacheMountId, type ExecMount } from "../../solver/graph/op.ts";
import type { CallContext, LayerId, Result } from "../../solver/graph/request.ts";
import { SECRET_MAX_BYTES } from "../../solver/graph/session.ts";
import type { Scope } from "../../solver/graph/scope.ts";
import type { Keeper } from "../keeper/keeper.ts";
import type { ExecJobMount } from "../keeper/messages.ts";
import type { ActiveLayer, CacheMountHold, Store } from "../../cache/contract.ts";

export type RestoreMount = (id: string, dir: string, vertex: Digest, context: CallContext) => Promise<void>;

export interface MountDeps {
  readonly store: Store;
  readonly keeper: () => Keeper;
  /** Fills a cache mount that was just made, from an imported cache if one has its content. Does not throw for a broken one. */
  readonly restoreMount?: RestoreMount;
  /** The layers an input stands for once it is ready. */
  readonly layersOf: (input: Result) => Promise<readonly LayerId[]>;
}

/** What a mount writes to, above what it began with. */
export interface Written {
  readonly active: ActiveLayer;
  readonly base: Result | null;
  /** Directories of the layers of `base`, oldest first. */
  readonly dirs: readonly string[];
}

/** A step that gets its mounts. */
export interface StepMounts {
  readonly cwd: string;
  readonly vertex: Digest;
  /** Directories of an input, and what it is; null: none. */
  readonly layer: (
    input: number | null,
  ) => Promise<{ readonly dirs: string[]; readonly result: Result | null }>;
  /** Ends with the step. */
  readonly scope: Scope;
  /** Mounts that are written to. */
  readonly written: Map<ExecMount, Written>;
  /** By id and seed: a step that names one twice sees the same directory twice. */
  readonly caches: Map<string, CacheMountHold>;
}

/** Makes ready what is mounted. An optional secret or agent that is not there is no mount. Throws SECRET_MISSING, LIMIT_EXCEEDED. */
export async function makeMount(
  mount: ExecMount,
  step: StepMounts,
  deps: MountDeps,
  context: CallContext,
): Promise<ExecJobMount[]> {
  const { scope, caches } = step;
  const target = mountTarget(mount.target, step.cwd);
  if (posix.normalize(`/${target}`).replace(/\/+$/, "") === "")
    throw new BuildError(
      "MOUNT_INVALID",
      `${mount.target} is the root directory, where nothing can be mounted`,
    );
  switch (mount.kind) {
    case "tmpfs":
      return [{ kind: "tmpfs", target, sizeBytes: mount.sizeBytes }];
    case "bind": {
      const source = await step.layer(mount.input);
      if (mount.readonly) {
        return [
          {
            kind: "tree",
            target,
            dirs: source.dirs,
            selector: mount.selector,
            readonly: true,
            upper: null,
            work: null,
          },
        ];
      }
      const active = scope.use(deps.store.layers.prepare());
      step.written.set(mount, { active, base: source.result, dirs: source.dirs });
      return [
        {
          kind: "tree",
          target,
          dirs: source.dirs,
          selector: mount.selector,
          readonly: false,
          upper: active.upper,
          work: active.work,
        },
      ];
    }
    case "cache": {
      const seed = await step.layer(mount.input);
      const seedKey =
        seed.result === null ? "" : JSON.stringify([await deps.layersOf(seed.result), mount.selector]);
      const id = cacheMountId(mount);
      const key = JSON.stringify([id, seedKey]);
      let hold = caches.get(key);
      if (hold === undefined) {
        const { signal } = context;
        const onWait = saysWaiting(context.emit, step.vertex, `the cache mount ${mount.target}`);
        hold = scope.use(
          await deps.store.cacheMounts.acquire(id, mount.sharing, { signal, seedKey, onWait }),
        );
        caches.set(key, hold);
        if (hold.fresh && seed.dirs.length > 0) {
          const tree = { kind: "layers", dirs: seed.dirs } as const;
          await deps
            .keeper()
            .run({ kind: "materialize", tree, selector: mount.selector, upper: hold.path }, { signal });
        } else if (hold.fresh && mount.input === null && deps.restoreMount !== undefined) {
          await deps.restoreMount(id, hold.path, step.vertex, context);
        }
        hold.seeded(); // from now on others may share it, also while this step runs
      }
      return [
        {
          kind: "directory",
          target,
          path: hold.path,
          readonly: mount.readonly,
          owner: null,
          fileAllowed: false,
        },
      ];
    }
    case "secret": {
      const data = await readSecret(mount.id, mount.optional, context);
      if (data === null) return [];
      return [{ kind: "secret", target, data, uid: mount.uid, gid: mount.gid, mode: mount.mode & 0o7777 }];
    }
    case "ssh": {
      const socket = await context.session.sshSocket(mount.id === "" ? "default" : mount.id);
      if (socket === null) {
        if (mount.optional) return [];
        throw new BuildError(
          "SECRET_MISSING",
          `unset ssh forward key ${mount.id === "" ? "default" : mount.id}`,
          {
            hint: "pass --ssh default (with SSH_AUTH_SOCK set) or --ssh ID=SOCKET, --ssh ID=KEY",
          },
        );
      }
      return [{ kind: "ssh", target, socket, uid: mount.uid, gid: mount.gid, mode: mount.mode & 0o7777 }];
    }
  }
}

/** Where a mount goes: a relative path is below the working directory. */
export function mountTarget(target: string, cwd: string): string {
  return target.startsWith("/") ? target : `${cwd === "/" ? "" : cwd}/${target}`;
}

/** Throws SECRET_MISSING unless it may be missing, LIMIT_EXCEEDED. */
export async function readSecret(
  id: string,
  optional: boolean,
  context: CallContext,
): Promise<Uint8Array | null> {
  const data = await context.session.secret(id);
  if (data === null) {
    if (optional) return null;
    throw new BuildError("SECRET_MISSING", `secret ${id}: not found`, {
      hint: `pass --secret id=${id},src=FILE or --secret id=${id},env=NAME`,
    });
  }
  if (data.length > SECRET_MAX_BYTES) {
    throw new BuildError("LIMIT_EXCEEDED", `secret ${id} is larger than ${SECRET_MAX_BYTES / 1024} KiB`);
  }
  return data;
}

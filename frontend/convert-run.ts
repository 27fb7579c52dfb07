// RUN to an ExecOp: the command with its here documents, mounts, network, security. Dockerfile reference, "RUN".

import { posix } from "node:path";
import type { Input } from "../solver/graph/definition.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { ExecMount, ExecOp } from "../solver/graph/op.ts";
import { cleanPath } from "../solver/graph/patterns.ts";
import { flagValues } from "./flags.ts";
import { trimSpace } from "./go-strings.ts";
import { addHistory } from "./image-config.ts";
import type { Instruction } from "./instruction.ts";
import { heredocWordOrNull } from "./parse-heredoc.ts";
import { readNetwork, readSecurity } from "./run-flags.ts";
import { parseDevice, parseMount, type RunMount } from "./run-mounts.ts";
import {
  type Conversion,
  expandIn,
  type InputList,
  noteOf,
  openInputs,
  type StageState,
  type StepEnv,
  shownText,
  spend,
  stepName,
} from "./stage-state.ts";
import type { Step } from "./stages.ts";

type Run = Extract<Instruction, { kind: "run" }>;

/** One RUN that is being converted. */
interface RunConversion {
  readonly conversion: Conversion;
  readonly state: StageState;
  readonly run: Run;
  readonly step: Step;
}

/** Where a script from a here document lies while it runs. */
const SCRIPT_DIR = "/dev/pipes";
const DEFAULT_SHELL = ["/bin/sh", "-c"];
const WINDOWS_SHELL = ["cmd", "/S", "/C"];
const SECRET_MODE = 0o400;
const SSH_MODE = 0o600;

/** Adds the step of a RUN. Throws MOUNT_INVALID, STAGE_UNKNOWN, DOCKERFILE_SYNTAX. */
export function convertRun(conversion: Conversion, state: StageState, run: Run, step: Step): void {
  const { options } = conversion;
  const inputs = openInputs();
  const root = inputs.add(state.fs);
  const { args, remark, script } = readCommand(conversion, state, run);
  const mounts: ExecMount[] = [];
  if (script !== null) {
    const input = inputs.add(script);
    mounts.push({ kind: "bind", input, selector: "", target: SCRIPT_DIR, readonly: true, output: null });
  }
  const more = readMounts({ conversion, state, run, step }, inputs);
  for (const mount of more.mounts) mounts.push(mount);
  if (options.shmSizeBytes !== null && options.shmSizeBytes > 0) {
    mounts.push({ kind: "tmpfs", target: "/dev/shm", sizeBytes: options.shmSizeBytes });
  }
  // Outer ones first; secrets and agents are mounted over the rest.
  mounts.sort((a, b) => Buffer.compare(Buffer.from(a.target), Buffer.from(b.target)));
  mounts.unshift({ kind: "bind", input: root, selector: "", target: "/", readonly: false, output: 0 });
  for (const mount of more.agents) mounts.push(mount);
  const agent = more.agents[0];
  const op: ExecOp = {
    kind: "exec",
    args,
    env: readEnv(conversion, state, agent === undefined ? null : agent.target),
    cwd: workdirOf(state),
    user: state.user,
    proxyEnv: conversion.proxyEnv,
    extraHosts: options.extraHosts,
    hostname: options.hostname ?? conversion.buildArgs.get("BUILDKIT_SANDBOX_HOSTNAME") ?? "",
    ulimits: options.ulimits,
    cgroupParent: options.cgroupParent,
    validExitCodes: [],
    mounts,
    network: readNetwork(run.flags, options.network),
    security: readSecurity(run.flags),
    secretEnv: more.secretEnv,
    devices: flagValues(run.flags, "device").map((text) => {
      const { name, required } = parseDevice(expandIn(conversion, state, run, text));
      return { name, optional: !required };
    }),
  };
  // Quotes and unknown variables belong to the shell: the name shows them as they stand.
  const { escape } = conversion;
  const written = `${run.original}${remark}`;
  const shown = shownText(conversion, shownState(state, more.secretEnv), run, written, {
    ...{ escape, rawQuotes: true, skipUnset: true },
  });
  const name = stepName(conversion, state, shown, step.isTrigger);
  state.fs = conversion.graph.add(op, state.platform, inputs.list, noteOf(name, run.at, state.ignoreCache));
  const history = `RUN ${stepEnvOf(state).shownArgs}${args.join(" ")} # buildkit`;
  spend(conversion, history.length);
  addHistory(state.image, history, true, conversion.created);
}

/** The variables as a name shows them: those that secrets replace are not what ENV says. */
function shownState(state: StageState, secrets: ExecOp["secretEnv"]): Pick<StageState, "env"> {
  if (secrets.length === 0) return state;
  const masked = secrets.map(({ name }) => [name, "****"] as const);
  return { env: new Map([...state.env, ...masked]) };
}

function readEnv(conversion: Conversion, state: StageState, agent: string | null): readonly string[] {
  const { list, length } = stepEnvOf(state);
  spend(conversion, length);
  return agent === null || state.env.has("SSH_AUTH_SOCK") ? list : [...list, `SSH_AUTH_SOCK=${agent}`];
}

function stepEnvOf(state: StageState): StepEnv {
  state.stepEnv ??= makeStepEnv(state);
  return state.stepEnv;
}

/** The build arguments are those a RUN could see, each where it was declared first. */
function makeStepEnv({ env, buildArgs }: StageState): StepEnv {
  const list = Array.from(env, ([name, value]) => `${name}=${value}`);
  const shown = Array.from(buildArgs, ([key, value]) => `${key}=${env.get(key) ?? value ?? ""}`);
  return {
    list,
    length: list.reduce((sum, entry) => sum + entry.length, 0),
    shownArgs: shown.length === 0 ? "" : `|${shown.length} ${shown.join(" ")} `,
  };
}

/** With slashes, whatever the image's config has. */
export function workdirOf({ image, platform }: StageState): string {
  const workdir = image.config.WorkingDir || "/";
  return platform.os === "windows" ? workdir.replaceAll("\\", "/") : workdir;
}

/** Words in front of a command in shell form. */
export function shellOf(state: Pick<StageState, "image">): readonly string[] {
  const shell = state.image.config.Shell ?? [];
  if (shell.length > 0) return shell;
  return state.image.os === "windows" ? WINDOWS_SHELL : DEFAULT_SHELL;
}

/** The command line; `remark` says what a here document starts with, `script` holds it where it runs by itself. */
function readCommand(
  conversion: Conversion,
  state: StageState,
  run: Run,
): { readonly args: readonly string[]; readonly remark: string; readonly script: Input | null } {
  const { command, heredocs } = run;
  if (command.form === "exec") {
    if (command.args.length === 0) {
      throw new BuildError("DOCKERFILE_SYNTAX", "RUN has no command to run: arguments are required", {
        at: run.at,
      });
    }
    return { args: command.args, remark: "", script: null };
  }
  const shell = shellOf(state);
  const [first] = heredocs;
  if (first === undefined) return { args: [...shell, command.text], remark: "", script: null };
  if (heredocWordOrNull(command.text) === null) {
    // The command reads its documents itself: the shell gets them as they stood.
    const text = heredocs.reduce((all, { raw, name }) => `${all}\n${raw}${name}`, command.text);
    return { args: [...shell, text], remark: "", script: null };
  }
  const remark = ` (${summary(first.raw)})`;
  if (!first.content.startsWith("#!") || state.image.os === "windows") {
    return { args: [...shell, first.content], remark, script: null };
  }
  const script = conversion.graph.add(
    {
      kind: "file",
      actions: [
        {
          kind: "mkfile",
          path: `/${first.name}`,
          mode: 0o755,
          data: new TextEncoder().encode(first.content),
          owner: null,
          timestampNs: null,
          base: null,
          output: 0,
        },
      ],
    },
    state.platform,
    [],
    noteOf("[internal] preparing inline document", run.at),
  );
  return { args: [...shell, `${SCRIPT_DIR}/${first.name}`], remark, script };
}

/** First line of a document. */
function summary(text: string): string {
  const lines = trimSpace(text).split(/\r?\n/);
  return `${lines[0]}${lines.length > 1 ? "..." : ""}`;
}

type SocketMount = Extract<ExecMount, { kind: "secret" | "ssh" }>;

interface Mounts {
  readonly mounts: ExecMount[];
  readonly agents: SocketMount[];
  readonly secretEnv: { readonly id: string; readonly name: string; readonly optional: boolean }[];
}
const NO_MOUNTS: { readonly [K in keyof Mounts]: readonly Mounts[K][number][] } = {
  mounts: [],
  agents: [],
  secretEnv: [],
};

function readMounts(asked: RunConversion, inputs: InputList): typeof NO_MOUNTS {
  const { conversion, state, run, step } = asked;
  const texts = flagValues(run.flags, "mount");
  if (texts.length === 0) return NO_MOUNTS;
  const found: Mounts = { mounts: [], agents: [], secretEnv: [] };
  const secrets: SocketMount[] = [];
  texts.forEach((text, index) => {
    const mount = parseMount(text, (value) => expandIn(conversion, state, run, value));
    if (mount.type === "secret") addSecret(mount, state, run, secrets, found);
    else if (mount.type === "ssh") found.agents.push(sshMount(mount, state, run, found.agents.length));
    else found.mounts.push(fileMount(asked, mount, step.sources[index] ?? null, inputs));
  });
  found.mounts.push(...secrets);
  return found;
}

function addSecret(
  mount: RunMount,
  state: StageState,
  run: Run,
  secrets: SocketMount[],
  found: Mounts,
): void {
  const id = mount.source || mount.id || posix.basename(mount.target);
  // Of several the first is the one that is told.
  if (!state.outline.secrets.has(id)) state.outline.secrets.set(id, { required: mount.required, at: run.at });
  if (mount.env !== null) found.secretEnv.push({ id, name: mount.env, optional: !mount.required });
  // As a variable and as a file only where both are asked for.
  if (mount.env !== null && mount.target === "") return;
  secrets.push({
    kind: "secret",
    id,
    target: mountTarget(state, mount.target || `/run/secrets/${posix.basename(id)}`),
    uid: mount.uid ?? 0,
    gid: mount.gid ?? 0,
    mode: mount.mode ?? SECRET_MODE,
    optional: !mount.required,
  });
}

function sshMount(mount: RunMount, state: StageState, run: Run, index: number): SocketMount {
  if (mount.source !== "")
    throw new BuildError("MOUNT_INVALID", "ssh does not support source", { at: run.at });
  const id = mount.id || "default";
  if (!state.outline.ssh.has(id)) state.outline.ssh.set(id, { required: mount.required, at: run.at });
  return {
    kind: "ssh",
    id: mount.id,
    target: mountTarget(state, mount.target || `/run/buildkit/ssh_agent.${index}`),
    uid: mount.uid ?? 0,
    gid: mount.gid ?? 0,
    mode: mount.mode ?? SSH_MODE,
    optional: !mount.required,
  };
}

/** stage: the one that --mount=from= names; null: the context. */
function fileMount(
  asked: RunConversion,
  mount: RunMount,
  stage: Step["sources"][number],
  inputs: InputList,
): ExecMount {
  const { conversion, state, run } = asked;
  const target = mountTarget(state, mount.target);
  if (target === "/") {
    throw new BuildError("MOUNT_INVALID", `invalid mount target ${JSON.stringify(mount.target || target)}`, {
      at: run.at,
      hint: "a mount needs a target below the root directory",
    });
  }
  if (mount.type === "tmpfs") return { kind: "tmpfs", target, sizeBytes: mount.sizeBytes || null };
  const source = mountSource(asked, mount, stage);
  const path = cleanPath(`/${mount.source}`);
  const hasOwner = mount.uid !== null || mount.gid !== null || mount.mode !== null;
  const start = path === "/" && hasOwner ? ownedDirectory(conversion, state, mount, source) : source;
  const input = inputs.add(start);
  const selector = path !== "/" ? path : hasOwner ? "/cache" : "";
  if (mount.type === "bind")
    return { kind: "bind", input, selector, target, readonly: mount.readonly, output: null };
  // The namespace keeps builds apart that should not share; ids without one are under "/".
  const namespace = conversion.buildArgs.get("BUILDKIT_CACHE_MOUNT_NS") ?? "";
  const id = `${namespace}/${mount.id || cleanPath(mount.target)}`;
  return {
    kind: "cache",
    id,
    input,
    selector,
    target,
    readonly: mount.readonly,
    sharing: mount.sharing ?? "shared",
  };
}

function mountSource(
  { conversion, state, run }: RunConversion,
  mount: RunMount,
  stage: Step["sources"][number],
): Input | null {
  if (stage === null) return mount.type === "cache" ? null : conversion.context();
  const source = conversion.states.get(stage);
  if (source !== undefined) return source.fs;
  throw new BuildError(
    "STAGE_UNKNOWN",
    `cannot mount from stage ${JSON.stringify(mount.from)} to ${JSON.stringify(mount.target)}, stage needs to be ` +
      `defined before current stage ${JSON.stringify(state.stage.label)}`,
    { at: run.at },
  );
}

/** A cache starts with a directory of the owner and mode asked for. */
function ownedDirectory(
  conversion: Conversion,
  state: StageState,
  mount: RunMount,
  source: Input | null,
): Input {
  const inputs = openInputs();
  const base = inputs.add(source);
  return conversion.graph.add(
    {
      kind: "file",
      actions: [
        {
          kind: "mkdir",
          path: "/cache",
          mode: mount.mode ?? 0o755,
          makeParents: false,
          owner: { user: { kind: "id", id: mount.uid ?? 0 }, group: { kind: "id", id: mount.gid ?? 0 } },
          timestampNs: null,
          base,
          output: 0,
        },
      ],
    },
    state.platform,
    inputs.list,
    noteOf("[internal] setting cache mount permissions", null),
  );
}

/** Absolute and clean; relative targets are below WORKDIR. */
function mountTarget(state: StageState, target: string): string {
  return cleanPath(target.startsWith("/") ? target : `/${workdirOf(state)}/${target}`);
}

// What the launcher does to start a keeper: namespaces, ids, Node, and beside it the first network.

import { launcherArch } from "../launcher/install.ts";
import { bindNewNetwork } from "../launcher/network.ts";
import { openProgram } from "../launcher/program.ts";
import { AT, CLONE, MS, O, PR, S, SIG } from "../sys/constants.ts";
import { STATUS_BYTES } from "./keeper-end.ts";
import { networkFiles, pastaArgs } from "./network-helper.ts";

/** Descriptors of the launcher: program and go-ahead, acknowledgement, messages; standard error of the network helper. */
export const FD = { program: 0, acknowledge: 1, ipc: 3, words: 9 } as const;

/** The launcher's program that makes the namespaces and starts Node in them: the front writes it to the launcher's standard input, then, once
 *  it was told "u", the id maps (user_namespaces(7)) and one byte. What the launcher says afterwards: keeper-end.ts. */
export function keeperProgram(
  nodeArgs: readonly string[],
  env: readonly string[],
  pasta: { readonly file: string; readonly dir: string } | null,
): Uint8Array {
  const program = openProgram(launcherArch(), FD.acknowledge);
  const child = program.label();
  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
  program.call("unshare", [CLONE.NEWUSER], { what: "creating a user namespace" });
  program.call("write", [FD.acknowledge, "u", 1]);
  program.call("read", [FD.program, new Uint8Array(8), 1]); // the front has written the id maps
  program.call("setresgid", [0, 0, 0]);
  program.call("setresuid", [0, 0, 0]);
  program.call("setgroups", [0, 0], { onError: "ignore" }); // refused in single-id mode
  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]); // new credentials clear it (prctl(2))
  program.call("unshare", [CLONE.NEWNS | CLONE.NEWPID], { what: "creating mount and pid namespaces" });
  program.call("clone", [SIG.CHLD, 0, 0, 0, 0], { onZero: child, intoNextArg: 0 });
  const how = new Uint8Array(STATUS_BYTES);
  program.call("wait4", [0, how, 0, 0]);
  program.call("write", [FD.acknowledge, how, STATUS_BYTES], { onError: "ignore" });
  program.call("exit_group", [0]);
  program.here(child);
  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
  program.call("mount", ["none", "/", 0, MS.REC | MS.PRIVATE, 0], { what: "making mounts private" });
  program.open(FD.program, "openat", [AT.FDCWD, "/dev/null", 0, 0]);
  const startsHelper = pasta === null ? null : networkAhead(program, pasta);
  // open() sets close-on-exec, which is wrong for a standard descriptor.
  program.call("dup3", [2, FD.acknowledge, 0]);
  program.call(
    "execve",
    [process.execPath, { pointers: [process.execPath, ...nodeArgs] }, { pointers: env }],
    {
      what: "starting Node",
    },
  );
  startsHelper?.();
  return program.assemble().bytes;
}

/** Starts pasta(1) on a new network namespace beside Node, which takes as long to begin: a first step need not wait for it.
 *  What fails here shows when the step's network is asked for (sandbox/network.ts). Returns what adds the processes' own records. */
function networkAhead(
  program: ReturnType<typeof openProgram>,
  { file, dir }: { readonly file: string; readonly dir: string },
): () => void {
  const files = networkFiles(dir, 1);
  const helper = program.label();
  const maker = program.label();
  const quiet = { onError: "ignore" } as const;
  program.call("mount", ["tmpfs", dir, "tmpfs", MS.NOSUID | MS.NODEV | MS.NOEXEC, "mode=700"], quiet);
  program.call("mknodat", [AT.FDCWD, files.namespace, S.IFREG | 0o600, 0], quiet);
  program.call("mknodat", [AT.FDCWD, files.ready, S.IFIFO | 0o600, 0], quiet);
  program.call("mknodat", [AT.FDCWD, files.words, S.IFIFO | 0o600, 0], quiet);
  // Open before there is a helper: who finds no writer later knows that the helper is gone.
  program.open(FD.words, "openat", [AT.FDCWD, files.words, O.RDWR | O.CLOEXEC, 0], quiet);
  program.call("clone", [SIG.CHLD, 0, 0, 0, 0], { onZero: helper, onError: "ignore" });
  return () => {
    program.here(helper);
    program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
    // From here on a record that fails tells nobody but the FIFO's reader, by its end.
    program.call("dup3", [FD.program, FD.acknowledge, 0]);
    program.call("dup3", [FD.acknowledge, FD.program, 0]);
    program.call("dup3", [FD.words, 2, 0]);
    program.call("clone", [SIG.CHLD, 0, 0, 0, 0], { onZero: maker, intoNextArg: 0 });
    program.call("wait4", [0, 0, 0, 0]);
    program.call("close_range", [FD.ipc, 0xffff_ffff, 0]);
    program.call("execve", [file, { pointers: [file, ...pastaArgs(files)] }, { pointers: [] }]);
    program.here(maker);
    program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
    bindNewNetwork(program, files.namespace);
  };
}

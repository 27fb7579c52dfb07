// The system-call filter of seccomp.ts in the format of a runtime. runtime-spec config-linux.md, "Seccomp".
//
// A runtime knows the call names of its libseccomp, which may be older than the table. Unknown calls must fail with
// ENOSYS, so that programs fall back to older calls (EPERM for fchmodat2 breaks chmod of newer C libraries). So ENOSYS is the
// default, and known calls that are refused are listed with EPERM.

import type { LauncherArch } from "../launcher/elf.ts";
import { AF_ALG, AF_VSOCK, CLONE_NAMESPACE_FLAGS, PERSONALITIES } from "./seccomp.ts";
import { SOCKETCALL } from "./seccomp-notify.ts";
import { ALLOWED_SYSCALLS } from "./syscalls.ts";

export interface OciSeccomp {
  readonly defaultAction: "SCMP_ACT_ERRNO";
  readonly defaultErrnoRet: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly {
    readonly names: readonly string[];
    readonly action: "SCMP_ACT_ALLOW" | "SCMP_ACT_ERRNO";
    readonly errnoRet?: number;
    readonly args?: readonly {
      readonly index: number;
      readonly value: number;
      readonly valueTwo?: number;
      readonly op: "SCMP_CMP_EQ" | "SCMP_CMP_GT" | "SCMP_CMP_MASKED_EQ";
    }[];
  }[];
}

/** One more than the families of Linux 6.18. linux/socket.h */
const AF_MAX = 46;
const EPERM = 1;
const ENOSYS = 38;

/** Calls of Linux 6.13 and before that are not in the table: unistd_64.h, unistd_32.h, asm-generic/unistd.h. */
const REFUSED_SYSCALLS: readonly string[] = [
  "_sysctl",
  "acct",
  "add_key",
  "afs_syscall",
  "bdflush",
  "bpf",
  "clock_settime",
  "clock_settime64",
  "create_module",
  "delete_module",
  "fanotify_init",
  "finit_module",
  "fsconfig",
  "fsmount",
  "fsopen",
  "fspick",
  "get_kernel_syms",
  "get_mempolicy",
  "getpmsg",
  "init_module",
  "io_uring_enter",
  "io_uring_register",
  "io_uring_setup",
  "ioperm",
  "iopl",
  "kcmp",
  "kexec_file_load",
  "kexec_load",
  "keyctl",
  "lookup_dcookie",
  "lsm_get_self_attr",
  "lsm_list_modules",
  "lsm_set_self_attr",
  "mbind",
  "migrate_pages",
  "mount",
  "mount_setattr",
  "move_mount",
  "move_pages",
  "nfsservctl",
  "open_by_handle_at",
  "open_tree",
  "perf_event_open",
  "pidfd_getfd",
  "pivot_root",
  "process_madvise",
  "putpmsg",
  "query_module",
  "quotactl",
  "quotactl_fd",
  "reboot",
  "request_key",
  "security",
  "set_mempolicy",
  "set_mempolicy_home_node",
  "setdomainname",
  "sethostname",
  "setns",
  "settimeofday",
  "stime",
  "swapoff",
  "swapon",
  "sysfs",
  "syslog",
  "umount",
  "umount2",
  "unshare",
  "uselib",
  "userfaultfd",
  "ustat",
  "vhangup",
  "vm86",
  "vm86old",
  "vserver",
];

/** linux.seccomp for this machine. */
export function ociSeccomp(arch: LauncherArch): OciSeccomp {
  const columns = arch === "x64" ? ([1, 2] as const) : ([3] as const);
  const allowed = ALLOWED_SYSCALLS.filter(
    (row) => row[0] !== "socketcall" && columns.some((column) => row[column] !== null),
  );
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: ENOSYS,
    architectures: arch === "x64" ? ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"] : ["SCMP_ARCH_AARCH64"],
    syscalls: [
      { names: allowed.map(([name]) => name), action: "SCMP_ACT_ALLOW" },
      { names: REFUSED_SYSCALLS, action: "SCMP_ACT_ERRNO", errnoRet: EPERM },
      { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS }, // its flags lie in memory a filter cannot read
      {
        names: ["clone"],
        action: "SCMP_ACT_ALLOW",
        args: [
          {
            index: 0,
            value: CLONE_NAMESPACE_FLAGS.reduce((mask, flag) => mask + flag, 0),
            valueTwo: 0,
            op: "SCMP_CMP_MASKED_EQ",
          },
        ],
      },
      ...CLONE_NAMESPACE_FLAGS.map((flag) => ({
        names: ["clone"],
        action: "SCMP_ACT_ERRNO" as const,
        errnoRet: EPERM,
        args: [{ index: 0, value: flag, valueTwo: flag, op: "SCMP_CMP_MASKED_EQ" as const }],
      })),
      ...PERSONALITIES.map((value) => ({
        names: ["personality"],
        action: "SCMP_ACT_ALLOW" as const,
        args: [{ index: 0, value, op: "SCMP_CMP_EQ" as const }],
      })),
      // Family by family, in the 32 bits the kernel looks at: of 64 a runtime would let AF_ALG pass with any of the upper ones set.
      // Two conditions on one argument are no way to leave two out: a runtime makes two rules of them, which allow what either does.
      ...Array.from({ length: AF_MAX }, (_, family) => family)
        .filter((family) => family !== AF_ALG && family !== AF_VSOCK)
        .map((family) => ({
          names: ["socket"],
          action: "SCMP_ACT_ALLOW" as const,
          args: [{ index: 0, value: 0xffff_ffff, valueTwo: family, op: "SCMP_CMP_MASKED_EQ" as const }],
        })),
      // Its arguments lie in memory a filter cannot read, so it could make a socket of any family; nobody makes it instead here.
      ...(arch === "x64"
        ? [
            {
              names: ["socketcall"],
              action: "SCMP_ACT_ALLOW" as const,
              args: [{ index: 0, value: SOCKETCALL.socket, op: "SCMP_CMP_GT" as const }],
            },
          ]
        : []),
    ],
  };
}

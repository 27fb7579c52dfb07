// [process] Writes docs/syscalls.md: every system call a step may make. `npm run build && node dist/test/docs/syscalls.js`.

import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { ALLOWED_SYSCALLS } from "../../worker/sandbox/syscalls.ts";

/** The page as text. */
export function syscallsPage(): string {
  const number = (value: number | null): string => (value === null ? "" : String(value));
  return [
    "# System calls of a step",
    "",
    "Generated from `worker/sandbox/syscalls.ts`; `worker/sandbox/seccomp.ts` compiles it to BPF. Equal in effect to the default",
    "profile of Docker and containerd with their default capabilities. Everything else fails with EPERM, numbers newer than the",
    "table with ENOSYS. Programs of another architecture are killed. `--security=insecure` has no filter.",
    "",
    "With conditions:",
    "",
    "| call | allowed when |",
    "| --- | --- |",
    "| clone | no namespace is requested (`CLONE_NEW*`), otherwise EPERM |",
    "| clone3 | never: ENOSYS, so that libraries fall back to clone |",
    "| personality | 0, 8, 0x20000, 0x20008 or the query 0xffffffff |",
    "| socket | the family is not AF_ALG (CVE-2026-31431) or AF_VSOCK |",
    "| socketcall (i386) | always, but the socket of `SYS_SOCKET` is created by tsbuild, see below |",
    "",
    "## Comparison with the default profiles",
    "",
    "Compared with containerd 301026e (August 2026, `contrib/seccomp`) and moby/profiles cd3bed8 (June 2026,",
    "`seccomp/default.json`), both for x86-64 and arm64 with Docker's default capabilities. Everything not in this table is the same.",
    "",
    "| call | containerd | docker | here |",
    "| --- | --- | --- | --- |",
    "| socket(AF_ALG), socket(AF_VSOCK) | EPERM | EPERM | EPERM |",
    "| the same with any of the upper 32 bits of the argument set, which the kernel ignores | allowed: 64 bits are compared | allowed | EPERM |",
    "| socketcall(SYS_SOCKET) of a 32-bit program, whatever the family | allowed | allowed; AF_ALG is refused by AppArmor or SELinux if enabled | AF_UNIX, TCP and UDP, and routing netlink; otherwise EPERM |",
    "| lsm_get_self_attr, lsm_set_self_attr, lsm_list_modules | allowed | EPERM | EPERM |",
    "| recv, send | allowed | allowed | missing: no number on these architectures |",
    "| clone3 | ENOSYS | ENOSYS | ENOSYS |",
    "| numbers newer than the table | ENOSYS by runc, EPERM by crun | the same | ENOSYS |",
    "| x32 (x86-64 numbers from 0x40000000) | as x86-64, if the kernel supports it | the same | ENOSYS |",
    "| arm programs on arm64 | not in the filter: killed | as arm | killed |",
    "| arm_fadvise64_64, arm_sync_file_range, sync_file_range2, breakpoint, cacheflush, set_tls | on arm64 | on arm64 | missing: numbers of 32-bit arm |",
    "",
    "A 32-bit program on x86-64 may create a socket with `socketcall`, whose arguments are in memory that a filter cannot read.",
    "Refusing it breaks networking in 32-bit glibc and Go programs, which have no alternative (docker did so for a week). Therefore a",
    "second filter makes the kernel notify tsbuild (seccomp_unotify(2)), which reads the arguments, creates the socket in the step's",
    "network and passes it to the program. A process can have only one such filter with a listener: if tsbuild itself runs under one,",
    "and in OCI runtimes, the call fails with EPERM or ENOSYS.",
    "",
    `Without conditions (${ALLOWED_SYSCALLS.length}):`,
    "",
    "| call | x86-64 | i386 | arm64 |",
    "| --- | --- | --- | --- |",
    ...ALLOWED_SYSCALLS.map(
      ([name, x64, i386, arm64]) => `| ${name} | ${number(x64)} | ${number(i386)} | ${number(arm64)} |`,
    ),
    "",
  ].join("\n");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  writeFileSync("docs/syscalls.md", syscallsPage());

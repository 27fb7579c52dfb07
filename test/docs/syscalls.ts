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
    "Made from `worker/sandbox/syscalls.ts`; `worker/sandbox/seccomp.ts` compiles it to BPF. Equal in effect to the default",
    "profile of Docker and containerd with their default capabilities. Everything else fails with EPERM, numbers newer than the",
    "table with ENOSYS. Programs of another architecture are killed. `--security=insecure` has no filter.",
    "",
    "With conditions:",
    "",
    "| call | allowed when |",
    "| --- | --- |",
    "| clone | no namespace is asked for (`CLONE_NEW*`), else EPERM |",
    "| clone3 | never: ENOSYS, so that libraries fall back to clone |",
    "| personality | 0, 8, 0x20000, 0x20008 or the query 0xffffffff |",
    "| socket | the family is not AF_VSOCK |",
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

// Capabilities of a step: the default set of Docker and BuildKit. capabilities(7), linux/capability.h.

/** Numbers of the default bounding, permitted and effective set. */
export const DEFAULT_CAPABILITIES: readonly number[] = [
  0, // CHOWN
  1, // DAC_OVERRIDE
  3, // FOWNER
  4, // FSETID
  5, // KILL
  6, // SETGID
  7, // SETUID
  8, // SETPCAP
  10, // NET_BIND_SERVICE
  13, // NET_RAW
  18, // SYS_CHROOT
  27, // MKNOD
  29, // AUDIT_WRITE
  31, // SETFCAP
];
/** Names by number, 0 to 40. */
export const CAPABILITY_NAMES: readonly string[] = [
  "CHOWN",
  "DAC_OVERRIDE",
  "DAC_READ_SEARCH",
  "FOWNER",
  "FSETID",
  "KILL",
  "SETGID",
  "SETUID",
  "SETPCAP",
  "LINUX_IMMUTABLE",
  "NET_BIND_SERVICE",
  "NET_BROADCAST",
  "NET_ADMIN",
  "NET_RAW",
  "IPC_LOCK",
  "IPC_OWNER",
  "SYS_MODULE",
  "SYS_RAWIO",
  "SYS_CHROOT",
  "SYS_PTRACE",
  "SYS_PACCT",
  "SYS_ADMIN",
  "SYS_BOOT",
  "SYS_NICE",
  "SYS_RESOURCE",
  "SYS_TIME",
  "SYS_TTY_CONFIG",
  "MKNOD",
  "LEASE",
  "AUDIT_WRITE",
  "AUDIT_CONTROL",
  "SETFCAP",
  "MAC_OVERRIDE",
  "MAC_ADMIN",
  "SYSLOG",
  "WAKE_ALARM",
  "BLOCK_SUSPEND",
  "AUDIT_READ",
  "PERFMON",
  "BPF",
  "CHECKPOINT_RESTORE",
];
/** Capability sets have 64 bits; Linux 6.18 uses 0 to 40 (CAP_CHECKPOINT_RESTORE), a later one may use more. */
export const LAST_CAPABILITY = 63;

/** Header and data of capset(2), version 3: effective = permitted = the set, inheritable empty. */
export function capsetArguments(capabilities: readonly number[]): {
  readonly header: Uint8Array;
  readonly data: Uint8Array;
} {
  const header = new Uint8Array(8);
  new DataView(header.buffer).setUint32(0, 0x2008_0522, true);
  const data = new Uint8Array(24);
  const view = new DataView(data.buffer);
  for (const capability of capabilities) {
    const base = capability < 32 ? 0 : 12;
    const bit = 2 ** (capability % 32);
    for (const field of [0, 4]) view.setUint32(base + field, view.getUint32(base + field, true) + bit, true);
  }
  return { header, data };
}

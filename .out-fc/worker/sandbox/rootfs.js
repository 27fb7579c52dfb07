// What a step finds in /etc/hosts and its environment. Host configuration never enters (threat model S4).
/** /etc/hosts as BuildKit writes it. */
export function hostsFile(hostname, extra) {
    const lines = [
        `127.0.0.1\tlocalhost ${hostname}`,
        "::1\tlocalhost ip6-localhost ip6-loopback",
        ...extra.map(({ host, ip }) => `${ip}\t${host.toLowerCase()}`),
    ];
    return `${lines.join("\n")}\n`;
}
/** Environment of a step: entries without a value are dropped (I4), HOME comes from the account when it is not set. */
export function stepEnvironment(env, home, tty) {
    const result = env.filter((entry) => entry.indexOf("=") > 0);
    if (!result.some((entry) => entry.startsWith("HOME=")))
        result.push(`HOME=${home}`);
    if (tty && !result.some((entry) => entry.startsWith("TERM=")))
        result.push("TERM=xterm");
    return result;
}
/** RLIMIT_* by the names --ulimit uses. getrlimit(2), asm-generic/resource.h. */
const RESOURCES = {
    cpu: 0,
    fsize: 1,
    data: 2,
    stack: 3,
    core: 4,
    rss: 5,
    nproc: 6,
    nofile: 7,
    memlock: 8,
    as: 9,
    locks: 10,
    sigpending: 11,
    msgqueue: 12,
    nice: 13,
    rtprio: 14,
    rttime: 15,
};
/** Number of a limit, or null for an unknown name. */
export function rlimitNumber(name) {
    return Object.hasOwn(RESOURCES, name) ? RESOURCES[name] : null;
}
/** Value of a limit: -1 is no limit. */
export function rlimitValue(value) {
    return value < 0 ? 0xffffffffffffffffn : BigInt(Math.trunc(value));
}
//# sourceMappingURL=rootfs.js.map
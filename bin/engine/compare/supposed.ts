// What the place of a file and the command of its step let suppose of a cause.

import type { CauseClass } from "./classes.ts";
import type { Cause } from "./contract.ts";

const PATHS: readonly { readonly class: CauseClass; readonly pattern: RegExp; readonly what: string }[] = [
  {
    class: "ldconfig-cache",
    pattern: /^(?:var\/cache\/ldconfig\/aux-cache|etc\/ld\.so\.cache~?)$/,
    what: "a cache of ldconfig, with times and inode numbers of libraries",
  },
  {
    class: "log-file",
    pattern: /^(?:var\/log\/|.*\/logs?\/|.*\.log(?:\.\d+)?(?:\.gz)?$|root\/\.npm\/_logs\/)/,
    what: "a log",
  },
  {
    class: "package-state",
    pattern:
      /^(?:var\/lib\/(?:dpkg|apt|rpm|dnf|yum|zypp|pacman)\/|var\/cache\/(?:apt|debconf|apk|dnf|yum|libdnf5|man|zypp)\/|lib\/apk\/db\/|usr\/lib\/sysimage\/(?:rpm|libdnf5)\/|usr\/share\/rpm\/|etc\/apk\/world$)/,
    what: "a file of the package manager",
  },
  {
    class: "random",
    pattern:
      /^(?:etc\/machine-id|var\/lib\/dbus\/machine-id|var\/lib\/systemd\/random-seed|etc\/ssh\/ssh_host_.*_key(?:\.pub)?|etc\/ssl\/(?:certs|private)\/ssl-cert-snakeoil\.(?:pem|key))$/,
    what: "an id or a key of one machine",
  },
  { class: "host-name", pattern: /^(?:etc\/hostname|etc\/mailname)$/, what: "the host name" },
  { class: "date-text", pattern: /^etc\/shadow-?$/, what: "the day of the last change of a password" },
];

/** What a file's place says. */
export function causeOfPath(path: string): Cause | null {
  const found = PATHS.find(({ pattern }) => pattern.test(path));
  return found === undefined ? null : { class: found.class, detail: `/${path} is ${found.what}` };
}

const COMMANDS: readonly { readonly class: CauseClass; readonly pattern: RegExp; readonly what: string }[] = [
  {
    class: "random",
    pattern:
      /\/dev\/u?random|random\/uuid|\buuidgen\b|\bmktemp\b|\$RANDOM\b|\bopenssl +(?:rand|gen|req)|\bssh-keygen\b|\bkeytool\b|\bshuf\b/,
    what: "makes random values",
  },
  {
    class: "host-name",
    pattern: /\bhostname\b|\buname +-[a-z]*[na]|\/proc\/sys\/kernel\/hostname/,
    what: "reads the host name",
  },
  {
    class: "user-name",
    pattern: /\bwhoami\b|\blogname\b|\bid(?: |$)|\/proc\/self\/(?:uid|gid)_map/,
    what: "reads who runs it",
  },
  { class: "build-path", pattern: /\bpwd\b|\$PWD\b/, what: "reads its directory" },
  { class: "date-text", pattern: /\bdate\b|\/proc\/uptime|\buptime\b/, what: "reads the clock" },
  {
    class: "member-order",
    pattern: /\bls +-[a-zA-Z]*[Uf]|\bfind\b|\btar\b|\bcpio\b|\blistdir\b/,
    what: "reads directories as they come",
  },
  { class: "locale", pattern: /\bsort\b|\blocale\b/, what: "depends on the locale" },
  {
    class: "network-content",
    pattern:
      /\b(?:curl|wget|git +(?:clone|fetch|pull)|apt(?:-get)? |apk +add|dnf |yum |pip3? |npm |yarn |go +(?:get|install|mod)|cargo |gem +install)|^ADD +(?:https?|git)/,
    what: "fetches from the network",
  },
  {
    class: "unordered-output",
    pattern: /\bmake\b|\bninja\b|\bxargs +-[a-zA-Z]*P|&(?: |$)(?!&)|\bnproc\b|\bparallel\b/,
    what: "works in parallel",
  },
];

/** What a step's command lets suppose, where nothing else does. */
export function causeOfCommand(command: string): Cause | null {
  const found = COMMANDS.find(({ pattern }) => pattern.test(command));
  return found === undefined
    ? null
    : { class: found.class, detail: `probably, since the step ${found.what}` };
}

/** Parts in another order, of a step that lists files. */
export function inOrderOf(cause: Cause, command: string): Cause {
  const lists = /\bls +-|\bfind\b|\btar\b|\bcpio\b|\blistdir\b|\bglob\b/.test(command);
  return cause.class === "unordered-output" && cause.detail.startsWith("the same parts") && lists
    ? { ...cause, class: "member-order" }
    : cause;
}

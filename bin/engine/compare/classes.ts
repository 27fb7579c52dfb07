// The classes of causes, and what is proposed for each.

/** Stable: programs and CI may compare these. */
export type CauseClass =
  | "file-times"
  | "member-order"
  | "build-path"
  | "host-name"
  | "user-name"
  | "date-text"
  | "random"
  | "gzip-header"
  | "python-bytecode"
  | "ar-times"
  | "elf-build-id"
  | "locale"
  | "log-file"
  | "package-state"
  | "ldconfig-cache"
  | "unordered-output"
  | "network-content"
  | "mode"
  | "owner"
  | "unknown";

export interface ClassText {
  readonly title: string;
  /** What to change, a sentence or two. */
  readonly proposal: string;
}

export const CLASSES: Readonly<Record<CauseClass, ClassText>> = {
  "file-times": {
    title: "file times",
    proposal:
      "Build with --reproducible (or SOURCE_DATE_EPOCH and rewrite-timestamp=true), which sets all new times; inside archives, set them when the archive is made (tar --mtime, zip -X after touch).",
  },
  "member-order": {
    title: "order of directory or archive members",
    proposal:
      "Sort names before using them: tar --sort=name, find … | sort, ls without -U, sorted(os.listdir()); set LC_ALL=C for sort.",
  },
  "build-path": {
    title: "embedded build path",
    proposal:
      "Build in a fixed directory (WORKDIR), not below mktemp; for compilers -ffile-prefix-map=$PWD=. or -trimpath; do not write $PWD into files.",
  },
  "host-name": {
    title: "host name",
    proposal: "Do not write the host name into files; for tools that do, give it by an option or variable.",
  },
  "user-name": {
    title: "user name or id",
    proposal:
      "Do not write the name or ids of the building user into files; set USER and LOGNAME for tools that do.",
  },
  "date-text": {
    title: "date or time in text",
    proposal:
      "Declare ARG SOURCE_DATE_EPOCH and use date -u -d @$SOURCE_DATE_EPOCH in place of the clock; many tools use the variable by themselves. Leave durations out.",
  },
  random: {
    title: "random seed or uuid",
    proposal:
      "Do not create keys, ids or random names while building: create them when a container first starts, or give a fixed seed.",
  },
  "gzip-header": {
    title: "gzip header (time, name, system)",
    proposal: "Use gzip -n (no name, no time), or Python's mtime=0.",
  },
  "python-bytecode": {
    title: "Python bytecode",
    proposal:
      "Set PYTHONDONTWRITEBYTECODE=1 (pip install --no-compile), or compile with python -m compileall --invalidation-mode checked-hash; PYTHONHASHSEED=0 where sets are compiled.",
  },
  "ar-times": {
    title: "static archive member times (ar)",
    proposal: "Use ar with D (ar rcsD, ARFLAGS=rvD) and ranlib -D.",
  },
  "elf-build-id": {
    title: "ELF build id",
    proposal:
      "The build id follows from what is linked: make that equal, or link with -Wl,--build-id=none (Go: -ldflags=-buildid=).",
  },
  locale: {
    title: "locale or time zone",
    proposal: "Set LC_ALL=C.UTF-8 and TZ=UTC for the step (ARG LC_ALL=C.UTF-8, ARG TZ=UTC).",
  },
  "log-file": {
    title: "log file",
    proposal: "Remove logs in the step that writes them: && rm -rf /var/log/*.",
  },
  "package-state": {
    title: "package manager's state",
    proposal:
      "Remove lists and caches in the same step: && rm -rf /var/lib/apt/lists/* /var/cache/apt/* (apk add --no-cache; dnf clean all).",
  },
  "ldconfig-cache": {
    title: "ldconfig cache",
    proposal: "Remove it in the same step: && rm -f /var/cache/ldconfig/aux-cache.",
  },
  "unordered-output": {
    title: "parallel or unordered output",
    proposal:
      "Write results in a fixed order: sort them, run this part with one job (make -j1), and iterate over sorted keys.",
  },
  "network-content": {
    title: "network content that moved",
    proposal:
      "Pin what is fetched: FROM image@sha256:…, ADD --checksum=sha256:… URL, versions of packages, commits of repositories, a snapshot of the distribution's archive.",
  },
  mode: {
    title: "file mode (umask)",
    proposal: "Set modes explicitly: COPY --chmod=…, install -m, umask 022 at the start of the step.",
  },
  owner: {
    title: "file owner",
    proposal: "Set owners explicitly: COPY --chown=…, tar --owner=0 --group=0 --numeric-owner.",
  },
  unknown: {
    title: "not recognised",
    proposal: "Look at the values above; run the step twice by hand if they do not say it.",
  },
};

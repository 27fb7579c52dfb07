// tsbuild verify: seeded causes of builds that differ are named by step, file and class; clean builds have none.

import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { setTimeout as later } from "node:timers/promises";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import type { Finding } from "../../bin/engine/compare/findings.ts";
import type { Verification } from "../../bin/verify.ts";
import { renderVerification } from "../../bin/verify-text.ts";
import { needs } from "../support/needs.ts";
import { startRegistry } from "../support/registry.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

/** The report as JSON. */
interface Report extends Omit<Verification, "same" | "dockerfile"> {
  readonly reproducible: boolean;
  readonly findings: readonly Finding[];
}

/** A step, the file that differs after it, and why. */
type Seed = readonly [command: string, file: string, cause: string];

const bytesOf =
  'b() { printf "\\\\$(printf %03o $1)"; }; s=$(date +%s); le() { b $((s&255)); b $((s>>8&255)); b $((s>>16&255)); b $((s>>24&255)); };';
const SEEDS: readonly Seed[] = [
  ["date > /s/date", "date", "date-text"],
  ["date +%s > /s/epoch", "epoch", "date-text"],
  ['echo "built at $(date -Iseconds) by make" > /s/iso', "iso", "date-text"],
  ["echo version=1.$(date +%Y%m%d) > /s/day", "day", "date-text"],
  ["touch /s/x-$(date +%s)", "x-", "date-text"],
  ["ln -s /opt/app-$(date +%Y%m%d%H%M%S) /s/link", "link", "date-text"],
  ["hostname > /s/hostname", "hostname", "host-name"],
  ['echo "Linux on $(uname -n)" > /s/uname', "uname", "host-name"],
  ["head -c16 /dev/urandom > /s/random", "random", "random"],
  ["cat /proc/sys/kernel/random/uuid > /s/uuid", "uuid", "random"],
  ["echo token=$(head -c12 /dev/urandom | od -An -tx1 | tr -d ' \\n') > /s/token", "token", "random"],
  [
    "mkdir -p /s/etc && cat /proc/sys/kernel/random/uuid | tr -d - > /s/id && cp /s/id /etc/machine-id && rm /s/id",
    "etc/machine-id",
    "random",
  ],
  ['d=$(mktemp -d) && echo "compiled in $d/src" > /s/mktemp && rmdir $d', "mktemp", "build-path"],
  [
    `${bytesOf} { printf '\\037\\213\\010\\000'; le; printf '\\002\\003\\003\\000\\000\\000\\000\\000\\000\\000\\000\\000'; } > /s/f.gz`,
    "f.gz",
    "gzip-header",
  ],
  [
    `mkdir /s/__pycache__ && ${bytesOf} { printf '\\247\\r\\r\\n\\000\\000\\000\\000'; le; printf '\\001\\000\\000\\000code'; } > /s/__pycache__/m.cpython-311.pyc`,
    "m.cpython-311.pyc",
    "python-bytecode",
  ],
  [
    "printf '!<arch>\\n%-16s%-12s0     0     100644  2         `\\nhi' a.o/ $(date +%s) > /s/lib.a",
    "lib.a",
    "ar-times",
  ],
  ["{ cat /in/elf; head -c20 /dev/urandom; head -c64 /dev/zero; } > /s/program", "program", "elf-build-id"],
  ["cd /in/names && find . -type f > /s/found", "found", "member-order"],
  ["cd /in/names && tar cf /s/order.tar $(find . -type f)", "order.tar", "member-order"],
  ["cd /tmp && echo x > now && tar cf /s/times.tar now && rm now", "times.tar", "file-times"],
  ['echo "zone $(date +%Z)" > /s/zone', "zone", "locale"],
  ["date -d @0 > /s/pinned", "pinned", "locale"],
  ["echo ${LANG:-none} > /s/lang", "lang", "locale"],
  ["seq 40 | sed 's/^/unit /' | shuf > /s/shuffled", "shuffled", "unordered-output"],
  ["mkdir -p /var/log && date > /var/log/install.log", "var/log/install.log", "log-file"],
  [
    "mkdir -p /var/lib/apt/lists && date > /var/lib/apt/lists/deb_InRelease",
    "deb_InRelease",
    "package-state",
  ],
  [
    'mkdir -p /var/lib/dpkg && printf "Package: x\\nVersion: 1.$(date +%s)\\n" > /var/lib/dpkg/status',
    "dpkg/status",
    "network-content",
  ],
  [
    "mkdir -p /var/cache/ldconfig && head -c64 /dev/urandom > /var/cache/ldconfig/aux-cache",
    "aux-cache",
    "ldconfig-cache",
  ],
  [
    "echo mode > /s/mode && chmod 6$(hostname | tr -dc b | head -c1 | tr b 4 | sed 's/^$/0/')0 /s/mode; case $(hostname) in b*) chmod 640 /s/mode;; *) chmod 600 /s/mode;; esac",
    "mode",
    "mode",
  ],
  ["case $(hostname) in b*) chown 7 /in/elf;; *) chown 8 /in/elf;; esac", "in/elf", "owner"],
];
const PARALLEL: Seed = ["nproc > /s/nproc", "nproc", "unordered-output"];

/** Head of a 64-bit ELF file up to its build id, which is 20 bytes. */
function elfHead(): Buffer {
  const bytes = Buffer.alloc(136);
  bytes.write("\x7fELF\x02\x01\x01", 0, "latin1");
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(1, 56);
  bytes.writeUInt32LE(4, 64);
  bytes.writeBigUInt64LE(120n, 72);
  bytes.writeBigUInt64LE(36n, 96);
  bytes.writeUInt32LE(4, 120);
  bytes.writeUInt32LE(20, 124);
  bytes.writeUInt32LE(3, 128);
  bytes.write("GNU\0", 132);
  return bytes;
}

const CLEAN = `FROM base AS tools
RUN mkdir /out && echo tool > /out/tool && chmod 755 /out/tool
FROM base
ARG SOURCE_DATE_EPOCH=0
COPY . /app
COPY --from=tools /out /usr/local/
RUN echo plain > /plain
RUN mkdir -p /a/b/c && touch /a/b/c/file && ln -s ../c /a/b/link && ln /a/b/c/file /a/hard
RUN date -u -d @\${SOURCE_DATE_EPOCH} > /pinned
RUN cd /app && find . -type f | LC_ALL=C sort > /sorted
RUN cd /app && tar cf /sorted.tar $(find . -type f | sort)
RUN seq 1000 | gzip -c > /numbers.gz
RUN chown 1000:1000 /plain && chmod 4755 /plain
RUN date > /var/cache.tmp && rm /var/cache.tmp
RUN --mount=type=cache,target=/cache date > /cache/x
RUN --mount=type=tmpfs,target=/tmp date > /tmp/x
RUN umask > /umask && id > /id
ENV A=1
WORKDIR /work/dir
LABEL version=1
`;

/** `tsbuild verify` with the base image, and its report. */
async function verify(shop: Workshop, code: number, ...args: readonly string[]): Promise<Report> {
  const base = ["--build-context", `base=oci-layout://${shop.at("base")}`];
  const found = await shop.run(["verify", ...base, "--format", "json", ...args]);
  assert.equal(found.code, code, found.stderr);
  return JSON.parse(found.stdout) as Report;
}

for (const account of accounts())
  describe(`verify as ${account.name}`, function () {
    this.timeout(180_000);

    it("names step, file and class of each seeded cause", async () => {
      using shop = await openWorkshop(account);
      const seeds = availableParallelism() > 1 ? [...SEEDS, PARALLEL] : SEEDS;
      const steps = seeds.map(([command]) => `RUN ${command}`);
      const names = Object.fromEntries(
        ["b.c", "a.h", "z.c", "m.c"].map((name) => [`names/${name}`, `${name}\n`]),
      );
      const head = ["FROM base", "COPY . /in", "RUN mkdir /s /opt"];
      const context = shop.context("seeds", { Dockerfile: [...head, ...steps, ""].join("\n"), ...names });
      writeFileSync(`${context}/elf`, elfHead(), { mode: 0o644 });
      const { findings, reproducible, conditions, comparisons } = await verify(shop, 1, context);
      assert.equal(reproducible, false);
      assert.ok(conditions.length > 8);
      const expected = seeds.map(([, file, cause], at) => `${at + head.length + 1} ${cause} ${file}`);
      const found = seeds.map(([, file, cause], at) => {
        const line = at + head.length + 1;
        const own = findings.filter(({ step }) => step?.place?.line === line);
        const best = own.find((one) => one.class === cause) ?? own[0];
        const named = best?.files.some(
          (path) => path.endsWith(file) || (file === "x-" && path.includes(file)),
        );
        return `${line} ${own.map((one) => one.class).join("+")} ${named === true ? file : JSON.stringify(best?.files)}`;
      });
      assert.deepEqual(found, expected);
      // The base has busybox; --fix has to know it of steps that run its tar.
      const layers = comparisons.flatMap(({ comparison }) => comparison.layers);
      assert.deepEqual(
        layers.flatMap(({ tar, step }) => (tar === "busybox" ? [step?.command] : [])),
        steps.filter((step) => step.includes(" tar ")),
      );
      assert.deepEqual(
        findings.filter(({ step }) => (step?.place?.line ?? 0) <= head.length),
        [],
      );
    });
  });

describe("verify", function () {
  this.timeout(180_000);
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
  });
  after(() => shop[Symbol.dispose]());

  it("finds nothing in a clean build", async () => {
    const context = shop.context("clean", { Dockerfile: CLEAN, "b.txt": "b\n", "a/c.txt": "c\n" });
    const { findings, reproducible } = await verify(shop, 0, context);
    assert.deepEqual([findings, reproducible], [[], true]);
  });

  it("warns of files with the day of the build, which are the same today", async () => {
    const context = shop.context("dated", { Dockerfile: "FROM base\nRUN date -u +%F > /today\n" });
    const { comparisons } = await verify(shop, 0, context);
    const dated = comparisons.flatMap(({ comparison }) => comparison.dated);
    assert.deepEqual(
      dated.map(({ path, step }) => [path, step.place?.line]),
      [["today", 2]],
    );
  });

  it("goes back to the step of the stage that a file was copied from", async () => {
    const Dockerfile = `FROM base AS build
RUN mkdir /out && echo same > /out/same
RUN date > /out/stamp
FROM base AS pack
COPY --from=build /out /packed
FROM base
COPY --from=pack /packed /app
RUN cp /app/stamp /again
`;
    const { findings } = await verify(shop, 1, shop.context("stages", { Dockerfile }));
    assert.deepEqual(
      findings.map((one) => [one.class, one.step?.place?.line, one.step?.stage, one.files]),
      [["date-text", 3, "build", ["out/stamp"]]],
    );
  });

  it("builds an image again by its provenance, or from the context given", async () => {
    const layout = (name: string): string => `oci-layout://${shop.at(name)}`;
    const make = async (name: string, ...args: readonly string[]): Promise<void> => {
      const output = `type=oci,tar=false,dest=${shop.at(name)}`;
      await shop.ok(["build", "--reproducible", "--provenance=true", "-o", output, ...args]);
    };
    const clean = shop.context("published", {
      Dockerfile: "FROM base\nARG WHAT\nCOPY x /x\nRUN echo $WHAT > /y\n",
      x: "x",
    });
    await make("clean.layout", "--build-arg", "WHAT=this", clean);
    assert.equal((await verify(shop, 0, layout("clean.layout"), clean)).reproducible, true); // the argument is in the provenance
    const other = await verify(shop, 1, layout("clean.layout"), clean, "--build-arg", "WHAT=that");
    assert.deepEqual(
      other.findings.map(({ files, step }) => [files, step?.place?.line]),
      [
        [["y"], 4],
        [[], undefined], // the history names the argument
      ],
    );
    const without = await shop.run(["verify", layout("clean.layout")]);
    assert.equal(without.code, 2);
    assert.match(
      without.stderr,
      /was built from a directory, which its provenance does not have\nhint: give that directory/,
    );
    // A Dockerfile without a context is in the provenance as a whole.
    const dated = `type=oci,tar=false,dest=${shop.at("dated.layout")}`;
    await shop.ok(["build", "--reproducible", "--provenance=true", "-o", dated, "-"], {
      input: "FROM base\nRUN date > /now\n",
    });
    const { findings } = await verify(shop, 1, layout("dated.layout"));
    assert.deepEqual(
      findings.map((one) => [one.class, one.step?.place?.line, one.files]),
      [["date-text", 2, ["now"]]],
    );
  });

  it("says the verdict first, each remedy once, and of an image that was built earlier no page of times", async () => {
    const Dockerfile = "FROM base\nCOPY x y /in/\nRUN date > /one\nRUN date > /two && date > /three\n";
    const context = shop.context("short", { Dockerfile, x: "x", y: "y" });
    const output = `type=oci,tar=false,dest=${shop.at("short.layout")}`;
    await shop.ok(["build", "--provenance=true", "-o", output, context]);
    const image = `oci-layout://${shop.at("short.layout")}`;
    await later(1_100); // date(1) says seconds
    // In another zone the same moment would be told as that.
    const report = await verify(shop, 1, "--same=time-zone", image, context);
    const found = { ...report, same: false, dockerfile: { name: "", text: "", target: null } };
    const quiet = renderVerification(found, "causes").replace(/"[^"]*" and "[^"]*"/g, "TIMES");
    assert.deepEqual(
      quiet
        .replace(/\d+ files/, "N files")
        .replaceAll(image, "IMAGE")
        .split("\n"),
      [
        "not reproducible: 2 causes",
        "  file-times: times of N files and times in the image config: IMAGE was built earlier, without --reproducible or with another SOURCE_DATE_EPOCH",
        "  date-text (date or time in text)",
        "    RUN date > /one (Dockerfile:3)",
        "      /one: a date: TIMES",
        "    RUN date > /two && date > /three (Dockerfile:4)",
        "      /three, /two: a date: TIMES",
        "    → Declare ARG SOURCE_DATE_EPOCH and use date -u -d @$SOURCE_DATE_EPOCH in place of the clock; many tools use the variable by themselves. Leave durations out.",
        "",
      ],
    );
    const summary = renderVerification(found, "summary");
    assert.match(summary, /^not reproducible: 2 causes\n/);
    assert.match(summary, /\nvaried: store, clock, .*\nnot varied: the date, .*\n\(--verbose has all/);
    assert.ok(summary.split("\n").length < 20, summary);
    const all = renderVerification(found, "all");
    assert.match(all, /\n {2}umask: the caller's → 0077\n/);
    assert.match(all, /\n {4}content at line 1, byte/);
  });

  it("uses locks and policies as a build does, and the second build what the first one resolved", async () => {
    await using registry = await startRegistry();
    const name = `${registry.host}/base`;
    const push = (word: string) =>
      shop.ok([
        ...["build", "--push", "--reproducible", "-t", `${name}:1`],
        shop.context("locked-base", { Dockerfile: "FROM scratch\nCOPY word /word\n", word }),
      ]);
    await push("one");
    const context = shop.context("locked", { Dockerfile: `FROM ${name}:1\nCOPY x /x\n`, x: "x" });
    const missing = await shop.run(["verify", "-q", "--locked", context]);
    assert.equal(missing.code, 2);
    assert.match(missing.stderr, /--locked: there is no lock file/);
    const apart = await shop.run(["verify", "--lock", "locked/Dockerfile", context]);
    assert.equal(apart.code, 2);
    assert.match(apart.stderr, /hint: if it belongs to the flag, write --lock=locked\/Dockerfile/);
    const added = await shop.ok(["verify", "-q", "--lock", context]);
    assert.match(added.stderr, /^\S*tsbuild\.lock: 1 added\n/);
    assert.equal(added.stdout, "reproducible: both builds are the same\n");
    const lock = readFileSync(`${context}/tsbuild.lock`, "utf8");
    await push("two");
    // Both builds are of what is locked.
    const { comparisons } = JSON.parse(
      (await shop.ok(["verify", "-q", "--format", "json", "--locked", context])).stdout,
    ) as Report;
    assert.equal(comparisons.length, 1);
    assert.equal(readFileSync(`${context}/tsbuild.lock`, "utf8"), lock);
    writeFileSync(shop.at("deny.json"), JSON.stringify({ default: [{ type: "reject" }] }));
    const rules = [{ action: "DENY", selector: { identifier: `docker-image://${name}:1` } }];
    writeFileSync(shop.at("rules.json"), JSON.stringify({ rules }));
    for (const [flag, words] of [
      ["--signature-policy=deny.json", /not allowed by the signature policy deny\.json/],
      ["--source-policy=rules.json", /not allowed by policy|denied by policy/],
    ] as const) {
      const denied = await shop.run(["verify", "-q", flag, context]);
      assert.equal(denied.code, 2);
      assert.match(denied.stderr, words);
    }
  });

  it("makes a patch with --fix, after which the build is reproducible, and a page that needs nothing else", async () => {
    const Dockerfile = `FROM base
RUN date > /date && find /bin -name 'm*' > /names
RUN mkdir -p /var/lib/apt/lists && date > /var/lib/apt/lists/x
RUN date > /tmp/<b>x && echo $LANG > /lang
`.replace("/tmp/<b>x", "'/<b>x'");
    const context = shop.context("fixed", { Dockerfile });
    const base = ["--build-context", `base=oci-layout://${shop.at("base")}`];
    const { code, stdout } = await shop.run([
      "verify",
      ...base,
      "--format",
      "html",
      "-o",
      "report.html",
      "--fix",
      context,
    ]);
    assert.equal(code, 1);
    assert.match(stdout, /^--- a\/Dockerfile\n\+\+\+ b\/Dockerfile\n@@ -1,4 \+1,7 @@\n/);
    const html = readFileSync(shop.at("report.html"), "utf8");
    assert.match(html, /<span class="class">date-text<\/span>/);
    assert.match(html, /\/&lt;b&gt;x/);
    assert.doesNotMatch(html, /<b>x|<script|https?:\/\/|src=|href=/);
    execFileSync(needs("git"), ["apply", "-"], { cwd: context, input: stdout });
    const { reproducible, findings } = await verify(shop, 0, context);
    assert.deepEqual([reproducible, findings], [true, []]);
  });

  it("uses images of the local store as bases, and says what is wrong with 2", async () => {
    const { code } = await shop.run([
      "build",
      "-t",
      "mine",
      shop.context("mine", { Dockerfile: "FROM base\nRUN date > /mine\n" }),
    ]);
    assert.equal(code, 0);
    const found = await verify(
      shop,
      0,
      shop.context("on-mine", { Dockerfile: "ARG ON=mine\nFROM $ON\nRUN echo x > /x\n" }),
    );
    assert.equal(found.reproducible, true);
    for (const args of [["--same", "nothing", "."], ["--format", "xml", "."], ["./nowhere"]])
      assert.equal((await shop.run(["verify", ...args])).code, 2, args.join(" "));
    const failing = await shop.run([
      "verify",
      shop.context("failing", { Dockerfile: "FROM scratch\nCOPY nothing /\n" }),
    ]);
    assert.equal(failing.code, 2);
    assert.match(failing.stderr, /"\/nothing": not found/);
  });
});

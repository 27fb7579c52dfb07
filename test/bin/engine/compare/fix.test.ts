// Patches of Dockerfiles: for what can be changed mechanically, applied by git.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { isBusyboxTar } from "../../../../bin/engine/compare/busybox.ts";
import { CLASSES, type CauseClass } from "../../../../bin/engine/compare/classes.ts";
import { proposeFixes } from "../../../../bin/engine/compare/fix.ts";
import type { MemberType, SideLayer } from "../../../../bin/engine/compare/contract.ts";
import type { Finding } from "../../../../bin/engine/compare/findings.ts";
import { needs } from "../../../support/needs.ts";
import { temporaryDir } from "../../../support/store.ts";

function finding(line: number, cause: CauseClass, files: readonly string[] = ["f"], detail = ""): Finding {
  const step = { command: "", stage: null, place: { file: "Dockerfile", line, endLine: line, text: "" } };
  return { class: cause, ...CLASSES[cause], step, layer: 1, files, detail };
}

/** The file after the patch, and the classes that are left. */
async function fixed(
  text: string,
  ...findings: readonly Finding[]
): Promise<{ text: string; left: readonly string[] }> {
  const { patch, left } = await proposeFixes({ name: "Dockerfile", text, target: null }, findings);
  using dir = temporaryDir();
  writeFileSync(dir.at("Dockerfile"), text);
  if (patch !== "") execFileSync(needs("git"), ["apply", "-p1", "-"], { cwd: dir.path, input: patch });
  return { text: readFileSync(dir.at("Dockerfile"), "utf8"), left: left.map((one) => one.class) };
}

describe("patches of Dockerfiles", () => {
  it("declare an argument once in a stage", async () => {
    const { text } = await fixed(
      "FROM a\nRUN date > x\nRUN date > y\nFROM b\nARG SOURCE_DATE_EPOCH=1\nRUN date > z\n",
      ...[2, 3, 6].map((line) => finding(line, "date-text")),
    );
    const date = "RUN date -u -d @${SOURCE_DATE_EPOCH:-0} >";
    const first = `FROM a\nARG SOURCE_DATE_EPOCH\n${date} x\n${date} y\n`;
    assert.equal(text, `${first}FROM b\nARG SOURCE_DATE_EPOCH=1\n${date} z\n`);
  });

  it("have no flags of GNU tar where tar is busybox's, and say so", async () => {
    const text = "FROM alpine\nRUN tar cf x.tar d\nRUN tar cf y.tar $(find d)\n";
    const findings = [finding(2, "member-order"), finding(3, "member-order"), finding(2, "file-times")].map(
      (one) => ({ ...one, tar: "busybox" as const, detail: "times in the tar" }),
    );
    const { patch, remarks } = await proposeFixes({ name: "Dockerfile", text, target: null }, findings);
    assert.deepEqual(patch.match(/^[-+](?![-+]).*$/gm), [
      "-RUN tar cf y.tar $(find d)",
      "+RUN tar cf y.tar $(find d | LC_ALL=C sort)",
    ]);
    assert.equal(remarks.length, 1);
    assert.match(remarks[0] ?? "", /^Dockerfile:2: the tar of this step is busybox's, .*install GNU tar/);
  });

  const treeOf = (
    ...links: readonly (readonly [name: string, type: MemberType, link: string])[]
  ): SideLayer => ({
    ...{ diffId: "", digest: null },
    async open() {
      const plain = {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtimeNs: 0n,
        device: "",
        xattrs: new Map(),
        content: null,
      };
      const members = new Map(links.map(([name, type, link]) => [name, { ...plain, type, link }]));
      return { members, [Symbol.dispose]() {} };
    },
  });
  for (const [what, isOne, ...layers] of [
    ["a link of Alpine", true, treeOf(["bin/tar", "symlink", "/bin/busybox"])],
    [
      "a name of busybox",
      true,
      treeOf(["bin/[", "file", ""], ["bin/busybox", "link", "bin/["], ["bin/tar", "link", "bin/["]),
    ],
    ["a program of its own", false, treeOf(["bin/tar", "file", ""], ["bin/busybox", "file", ""])],
    [
      "one that a later layer brought",
      false,
      treeOf(["bin/tar", "symlink", "busybox"]),
      treeOf(["usr/bin/tar", "file", ""]),
    ],
    ["missing", false, treeOf(["bin/sh", "symlink", "busybox"])],
  ] as const)
    it(`know whose tar it is: ${what}`, async () => {
      assert.equal(await isBusyboxTar(layers, { signal: new AbortController().signal }), isOne);
    });

  const cases: readonly (readonly [
    cause: CauseClass,
    before: string,
    after: string,
    files?: string[],
    detail?: string,
  ])[] = [
    ["date-text", "RUN date > /f", "ARG SOURCE_DATE_EPOCH\nRUN date -u -d @${SOURCE_DATE_EPOCH:-0} > /f"],
    [
      "date-text",
      'RUN echo "at $(date +%F)" > f',
      'ARG SOURCE_DATE_EPOCH\nRUN echo "at $(date -u -d @${SOURCE_DATE_EPOCH:-0} +%F)" > f',
    ],
    ["gzip-header", "RUN cat x | gzip > y.gz && gzip z", "RUN cat x | gzip -n > y.gz && gzip -n z"],
    ["ar-times", "RUN cc -c a.c && ar rcs liba.a a.o", "RUN cc -c a.c && ar rcsD liba.a a.o"],
    ["ar-times", "RUN make lib", "ARG ARFLAGS=rvD\nRUN make lib"],
    ["member-order", "RUN ls -lU /d > f", "RUN ls -l /d > f"],
    ["member-order", "RUN find /d -type f > f", "RUN find /d -type f | LC_ALL=C sort > f"],
    [
      "member-order",
      "RUN tar czf x.tgz d",
      "ARG SOURCE_DATE_EPOCH\nRUN tar --sort=name --mtime=@${SOURCE_DATE_EPOCH:-0} --owner=0 --group=0 --numeric-owner -czf x.tgz d",
    ],
    ["python-bytecode", "RUN pip install x", "ARG PYTHONDONTWRITEBYTECODE=1\nRUN pip install x"],
    ["locale", "RUN date +%Z > f", "ARG TZ=UTC\nRUN date +%Z > f", ["f"], 'time zone: "UTC" and "VFY"'],
    ["unordered-output", "RUN cd x && make -j$(nproc) all", "RUN cd x && make -j1 all"],
    [
      "ldconfig-cache",
      "RUN ldconfig",
      "RUN ldconfig && rm -rf /var/cache/ldconfig/aux-cache",
      ["var/cache/ldconfig/aux-cache"],
    ],
    [
      "package-state",
      "RUN apt-get update \\\n    && apt-get install -y x",
      "RUN apt-get update \\\n    && apt-get install -y x \\\n    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*",
      ["var/lib/apt/lists/a", "var/cache/apt/pkgcache.bin", "var/lib/apt/lists/b"],
    ],
    ["log-file", "RUN x", "RUN x && rm -rf /var/log/*", ["var/log/apt/term.log"]],
  ];
  it("counts one change of tar for all causes it is for, and leaves tars that are read", async () => {
    const created = "FROM base\nRUN tar czf x.tgz d\n";
    const both = [
      finding(2, "member-order"),
      finding(2, "file-times", ["f"], '"./" in the tar has another time'),
    ];
    const { left } = await proposeFixes({ name: "Dockerfile", text: created, target: null }, both);
    assert.deepEqual(left, []);
    const read = "FROM base\nRUN tar -C /d -xzf x.tgz\n";
    const { patch } = await proposeFixes({ name: "Dockerfile", text: read, target: null }, both);
    assert.equal(patch, "");
  });
  for (const [cause, before, after, files, detail] of cases)
    it(`are made for ${cause}: ${before.split("\n")[0]}`, async () => {
      const around = (text: string): string => `FROM base\n# first\n${text}\nCMD ["x"]\n`;
      const found = await fixed(around(before), finding(3, cause, files, detail));
      assert.deepEqual(found, { text: around(after), left: [] });
    });

  it("join what several causes of one step, and of several steps, need", async () => {
    const text =
      "FROM base\nRUN apt-get update\nRUN a\nRUN b\nRUN c\nRUN d\nRUN e\nRUN f\nRUN g\nRUN h\nRUN date";
    const found = await fixed(
      text,
      finding(2, "package-state", ["var/lib/apt/lists/x"]),
      finding(2, "log-file", ["var/log/x"]),
      finding(11, "date-text"),
      finding(3, "random"),
    );
    assert.deepEqual(found.left, ["random"]);
    assert.match(found.text, /^RUN apt-get update && rm -rf \/var\/lib\/apt\/lists\/\* \/var\/log\/\*$/m);
    assert.match(found.text, /RUN h\nARG SOURCE_DATE_EPOCH\nRUN date -u -d @\$\{SOURCE_DATE_EPOCH:-0\}$/);
  });

  it("leave alone what they would break: JSON form, here documents, open ends, files that are needed", async () => {
    for (const [line, one] of [
      ['RUN ["date"]', finding(2, "date-text")],
      ["RUN <<EOF\ndate\nEOF", finding(2, "date-text")],
      ["RUN x &", finding(2, "log-file", ["var/log/x"])],
      ["RUN x # why", finding(2, "log-file", ["var/log/x"])],
      ["RUN x", finding(2, "package-state", ["var/lib/dpkg/status"])],
      ["RUN echo update-date", finding(2, "date-text")],
      ["COPY x /x", finding(2, "file-times", ["f"], '"./" in the tar has another time')],
    ] as const) {
      const text = `FROM base\n${line}\n`;
      assert.deepEqual(await fixed(text, one), { text, left: [one.class] }, line);
    }
  });
});

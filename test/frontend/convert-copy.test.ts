// COPY and ADD: Dockerfile reference, "COPY", "ADD".

import assert from "node:assert/strict";
import { parseGitRef } from "../../frontend/git-ref.ts";
import type { FileAction } from "../../solver/graph/op.ts";
import { build, failure, image, opsOf } from "./dockerfile.ts";

type CopyActionOf = Extract<FileAction, { kind: "copy" }>;

/** The copy actions of the last step. */
async function copies(line: string, before = ""): Promise<readonly CopyActionOf[]> {
  const { definition } = await image(`FROM base:1\n${before}${line}\n`);
  return (opsOf(definition, "file").at(-1)?.actions ?? []).filter((action) => action.kind === "copy");
}

describe("COPY", () => {
  it("destinations are below WORKDIR, and keep their slash", async () => {
    const dest = async (text: string): Promise<string | undefined> =>
      (await copies(`COPY a ${text}`, "WORKDIR /w\n"))[0]?.dest;
    assert.equal(await dest("b"), "/w/b");
    assert.equal(await dest("b/"), "/w/b/");
    assert.equal(await dest("."), "/w/");
    assert.equal(await dest("./"), "/w/");
    assert.equal(await dest("../x/./y"), "/x/y");
    assert.equal(await dest("/abs/"), "/abs/");
    assert.equal(await dest('""'), "/w/");
  });

  it("sources are below the context, whatever they climb", async () => {
    const [action] = await copies("COPY ../../etc/passwd /");
    assert.equal(action?.src, "/etc/passwd");
  });

  it("--chown takes names and numbers; names are looked up in what was there before", async () => {
    const owner = async (text: string): Promise<unknown> =>
      (await copies(`COPY --chown=${text} a /`))[0]?.owner;
    assert.deepEqual(await owner("app"), { user: { kind: "name", name: "app", input: 0 }, group: null });
    assert.deepEqual(await owner("1:root"), { user: { kind: "id", id: 1 }, group: { kind: "id", id: 0 } });
    assert.deepEqual(await owner(":staff"), {
      user: { kind: "id", id: 0 },
      group: { kind: "name", name: "staff", input: 0 },
    });
    const [, second] = await copies("COPY --chown=app a b /");
    // The second action works on the result of the first (input 0 is the base, 1 the context, 2 that result), but the accounts
    // are those of the base: BuildKit's llb gives all actions of a FileOp the same.
    assert.deepEqual(second?.owner?.user, { kind: "name", name: "app", input: 0 });
    assert.equal(second?.base, 2);
  });

  it("--chmod is octal or symbolic", async () => {
    const mode = async (text: string): Promise<unknown> => {
      const [action] = await copies(`COPY --chmod=${text} a /`);
      return [action?.mode, action?.modeStr];
    };
    assert.deepEqual(await mode("0755"), [0o755, ""]);
    assert.deepEqual(await mode("u=rwX,go-w,+t"), [null, "u=rwX,go-w,+t"]);
    for (const text of ["99999", "77777", "rwx", "u=k", "u+x,"]) {
      assert.match(
        (await failure(`FROM base:1\nCOPY --chmod=${text} a /\n`)).message,
        /invalid chmod parameter/,
        text,
      );
    }
  });

  it("--link copies onto nothing; with --chmod it is a plain copy", async () => {
    const linked = await image("FROM base:1\nCOPY --link a /\n");
    assert.equal(opsOf(linked.definition, "merge").length, 1);
    const groups = [...linked.definition.notes.values()].map((note) => note.group?.id ?? null);
    assert.equal(new Set(groups.filter((id) => id !== null)).size, 1);
    const plain = await image("FROM base:1\nCOPY --link --chmod=644 a /\n");
    assert.equal(opsOf(plain.definition, "merge").length, 0);
  });

  it("here documents are filled in unless their word is quoted", async () => {
    const { definition } = await image("FROM base:1\nARG X=1\nCOPY <<A <<'B' /d/\n\"$X\" \\$X\nA\n$X\nB\n");
    const texts = opsOf(definition, "file").flatMap(({ actions }) =>
      actions.flatMap((action) => (action.kind === "mkfile" ? [new TextDecoder().decode(action.data)] : [])),
    );
    assert.deepEqual(texts, ['"1" $X\n', "$X\n"]);
  });

  it("takes no addresses, and stages only after they are made", async () => {
    assert.match(
      (await failure("FROM base:1\nCOPY https://example.com/a /\n")).message,
      /source can't be a URL for COPY/,
    );
    assert.match(
      (await failure("FROM base:1\nCOPY https://example.com/a.git /\n")).message,
      /source can't be a git ref for COPY/,
    );
    const early = await failure("FROM base:1 AS a\nCOPY --from=b / /\nFROM base:1 AS b\nFROM a\n");
    assert.match(
      early.message,
      /cannot copy from stage "b", it needs to be defined before current stage "a"/,
    );
  });

  it("--from may hold an argument of before FROM", async () => {
    const { steps } = await image(
      "ARG S=one\nFROM base:1 AS one\nRUN one\nFROM base:1\nCOPY --from=$S /a /\n",
    );
    assert.ok(steps.includes("[one 2/2] RUN one"));
  });

  it("of ignored files is warned about", async () => {
    const dockerignore = { name: ".dockerignore", data: Buffer.from("*.log\n") };
    const text =
      "FROM base:1 AS a\nFROM base:1\nCOPY a.log b.txt /d/\nADD ./c.log /\nCOPY --from=a x.log /\n";
    const { warnings } = await build(text, { dockerignore });
    assert.deepEqual(
      warnings.map(({ detail }) => detail),
      [
        'Attempting to Copy file "a.log" that is excluded by .dockerignore',
        'Attempting to Add file "c.log" that is excluded by .dockerignore',
      ],
    );
  });

  it("a faulty .dockerignore is an error at its line", async () => {
    const error = await failure("FROM base:1\n", {
      dockerignore: { name: ".dockerignore", data: Buffer.from("ok\n\n[\n") },
    });
    assert.deepEqual([error.at?.file, error.at?.start.line], [".dockerignore", 3]);
  });
});

describe("ADD", () => {
  it("unpacks archives of the context, not what it downloads, unless told", async () => {
    const unpack = async (line: string): Promise<boolean | undefined> =>
      (await copies(line))[0]?.attemptUnpack;
    assert.equal(await unpack("ADD a.tar /"), true);
    assert.equal(await unpack("ADD --unpack=false a.tar /"), false);
    assert.equal(await unpack("ADD https://example.com/a.tar /"), false);
    assert.equal(await unpack("ADD --unpack https://example.com/a.tar /"), true);
    assert.equal(await unpack("COPY a.tar /"), false);
  });

  it("names a download after the last part of its address", async () => {
    const src = async (url: string): Promise<string | undefined> => (await copies(`ADD ${url} /`))[0]?.src;
    assert.equal(await src("https://example.com/a/b.txt?x=/y"), "/b.txt");
    assert.equal(await src("https://example.com/pct%20name"), "/pct name");
    assert.equal(await src("https://example.com/"), "/__unnamed__");
  });

  it("--checksum is for one remote source", async () => {
    const sum = `--checksum=sha256:${"0".repeat(64)}`;
    const error = async (line: string): Promise<string> => (await failure(`FROM base:1\n${line}\n`)).message;
    assert.match(
      await error(`ADD ${sum} https://e.com/a https://e.com/b /`),
      /checksum can't be specified for multiple sources/,
    );
    assert.match(await error(`ADD ${sum} a /`), /checksum requires HTTP\(S\) or Git sources/);
    assert.match(await error("ADD --checksum=nonsense https://e.com/a /"), /invalid checksum/);
  });
});

describe("git addresses", () => {
  it("are known by scheme, suffix or form", () => {
    const remote = (text: string): string | null => parseGitRef(text)?.remote ?? null;
    assert.equal(remote("https://example.com/a.git#x"), "https://example.com/a.git");
    assert.equal(remote("HTTPS://example.com/a.git"), "https://example.com/a.git");
    assert.equal(remote("git://example.com/a"), "git://example.com/a");
    assert.equal(remote("git@example.com:a/b.git#main"), "git@example.com:a/b.git");
    assert.equal(remote("github.com/a/b"), "https://github.com/a/b");
    for (const text of ["https://example.com/a", "./a.git", "dir/file", "ftp://example.com/a.git"]) {
      assert.equal(remote(text), null, text);
    }
  });

  it("have ref and directory in the fragment or the query", () => {
    const parts = (text: string): unknown => {
      const found = parseGitRef(text);
      return [found?.ref, found?.subdir, found?.checksum, found?.keepGitDir];
    };
    assert.deepEqual(parts("https://e.com/a.git#v1:sub/dir"), ["v1", "sub/dir", "", null]);
    assert.deepEqual(parts("https://e.com/a.git#:sub"), ["", "sub", "", null]);
    assert.deepEqual(parts("https://e.com/a.git?tag=v1&subdir=s&keep-git-dir=1&checksum=abc"), [
      "refs/tags/v1",
      "s",
      "abc",
      true,
    ]);
    assert.throws(() => parseGitRef("https://e.com/a.git?nonsense=1"), /unexpected query "nonsense"/);
    assert.throws(
      () => parseGitRef("https://user:pass@e.com/a.git?x=1"),
      (error: Error) => !error.message.includes("pass"),
    );
  });
});

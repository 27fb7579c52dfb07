// Reading Dockerfiles: https://docs.docker.com/reference/dockerfile/

import assert from "node:assert/strict";
import fc from "fast-check";
import type { Instruction, ParsedDockerfile } from "../../frontend/instruction.ts";
import { parseDockerfile, parseTrigger, readDockerfile } from "../../frontend/parse.ts";
import { BuildError } from "../../solver/graph/error.ts";

const parse = (text: string): Promise<ParsedDockerfile> => parseDockerfile("Dockerfile", Buffer.from(text));

/** The last instruction of a file that starts with FROM. */
async function last<K extends Instruction["kind"]>(
  kind: K,
  text: string,
): Promise<Instruction & { kind: K }> {
  const { instructions } = await parse(`FROM a\n${text}`);
  const instruction = instructions.at(-1);
  assert.equal(instruction?.kind, kind);
  return instruction as Instruction & { kind: K };
}

async function failure(text: string): Promise<BuildError> {
  const { error } = await readDockerfile("Dockerfile", Buffer.from(text));
  assert.ok(error !== null, `no error in ${JSON.stringify(text)}`);
  assert.ok(error.at !== null, "the error has no place");
  return error;
}

describe("parser directives", () => {
  it("reads them at the top, in any case and spacing, and drops a byte order mark", async () => {
    const parsed = await parse(
      "\uFEFF#Syntax = docker/dockerfile:1 \n# check=skip=all\n# escape=`\nFROM a\n",
    );
    assert.deepEqual(
      parsed.directives.map(({ name, value, at }) => [name, value, at.start.line]),
      [
        ["syntax", "docker/dockerfile:1", 1],
        ["check", "skip=all", 2],
        ["escape", "`", 3],
      ],
    );
    assert.equal(parsed.escape, "`");
  });

  for (const [place, before] of [
    ["a comment", "# note\n"],
    ["an empty line", "\n"],
    ["an unknown directive", "# nope=1\n"],
    ["an instruction", "ARG x\n"],
  ]) {
    it(`takes them for comments after ${place}`, async () => {
      const parsed = await parse(`${before}# escape=\`\nFROM a\n`);
      assert.deepEqual([parsed.escape, parsed.directives], ["\\", []]);
    });
  }

  it("refuses one that comes twice, and an escape of something else", async () => {
    const twice = await failure("# escape=\\\n# escape=`\nFROM a\n");
    assert.match(twice.message, /only one escape parser directive/);
    assert.equal(twice.at?.start.line, 2);
    assert.match((await failure("# escape=x\nFROM a\n")).message, /invalid escape token 'x'/);
  });
});

describe("lines", () => {
  it("joins continued lines, keeps their indentation, and leaves out comments and empty lines between", async () => {
    const parsed = await parse("FROM a\nRUN x \\ \t\n  # no\n\n   y\\\nz\n");
    const run = parsed.instructions[1];
    assert.equal(run?.original, "RUN x    yz");
    assert.deepEqual(run?.at, {
      file: "Dockerfile",
      start: { line: 2, column: 1 },
      end: { line: 6, column: 2 },
    });
    assert.deepEqual(
      parsed.warnings.map(({ rule, at }) => [rule, at.start.line]),
      [["NoEmptyContinuation", 6]],
    );
  });

  it("does not continue after an escaped escape, nor at the end of the file", async () => {
    const { instructions } = await parse("FROM a\nENV A=x\\\\\nRUN y \\");
    assert.deepEqual(
      instructions.map(({ original }) => original),
      ["FROM a", "ENV A=x\\\\", "RUN y"],
    );
  });

  it("reads CRLF line ends, and continues with the escape of the directive", async () => {
    const { instructions } = await parse("# escape=`\r\nFROM a\r\nRUN c:\\ `\r\n x\r\n");
    assert.equal(instructions[1]?.original, "RUN c:\\  x");
  });

  it("keeps the comments directly above, until an empty comment", async () => {
    const { instructions } = await parse(
      "# far\n#\n# app is it\nFROM a AS app\n# VERSION of it\nARG VERSION=1\n",
    );
    const [from, arg] = instructions;
    assert.deepEqual(from?.comments, ["app is it"]);
    assert.equal(from?.kind === "from" && from.comment, "is it");
    assert.equal(arg?.kind === "arg" && arg.args[0]?.comment, "of it");
  });

  it("refuses lines that BuildKit cannot read", async () => {
    const error = await failure(`FROM a\nRUN ${"x".repeat(70_000)}\n`);
    assert.equal(error.code, "LIMIT_EXCEEDED");
    await parse(`FROM a\nRUN ${"x".repeat(60_000)}\n`);
  });
});

describe("flags", () => {
  it("takes them with quotes and escapes, up to -- or the first argument, each with its place", async () => {
    const copy = await last("copy", "COPY --chown=\"a b\":c \\\n  --link --chmod='6'00 x --not y\n");
    assert.deepEqual(
      copy.flags.map(({ name, value }) => [name, value]),
      [
        ["chown", "a b:c"],
        ["link", null],
        ["chmod", "600"],
      ],
    );
    assert.deepEqual(copy.flags[1]?.at.start, { line: 3, column: 3 });
    assert.deepEqual(copy.flags[1]?.at.end, { line: 3, column: 9 });
    assert.deepEqual([copy.sources, copy.dest], [["x", "--not"], "y"]);
    assert.deepEqual((await last("copy", "COPY -- --a b\n")).sources, ["--a"]);
  });

  it("refuses unknown, doubled and malformed ones", async () => {
    const unknown = await failure("FROM a\nCOPY --chwon=1 a b\n");
    assert.equal(unknown.message, "dockerfile parse error on line 2: unknown flag: --chwon");
    assert.equal(unknown.hint, "did you mean chown?");
    assert.deepEqual(unknown.at?.start, { line: 2, column: 6 });
    assert.match((await failure("FROM a\nCOPY --from=1 --from=2 a b")).message, /duplicate flag.*from/);
    assert.match((await failure("FROM a\nCOPY --from a b")).message, /missing a value on flag: --from/);
    assert.match((await failure("FROM a\nCOPY --link=maybe a b")).message, /boolean value.*--link.*maybe/);
    assert.match((await failure("FROM a\nENV --x a=b")).message, /unknown flag: --x/);
  });

  it("does not look at the flags of ARG, STOPSIGNAL and HEALTHCHECK NONE", async () => {
    const { instructions } = await parse("FROM a\nARG --x y\nSTOPSIGNAL --x 9\nHEALTHCHECK --x NONE\n");
    const [, arg, signal, check] = instructions;
    assert.deepEqual(arg?.kind === "arg" && arg.args.map(({ key }) => key), ["y"]);
    assert.equal(signal?.kind === "stopsignal" && signal.value, "9");
    assert.equal(check?.kind === "healthcheck" && check.test, "NONE");
    assert.equal(
      (await failure("FROM a\nHEALTHCHECK --x CMD y\n")).message.includes("unknown flag: --x"),
      true,
    );
  });
});

describe("JSON form", () => {
  it("takes a list of strings", async () => {
    const { command } = await last("cmd", 'CMD [ "a", "\\u0062\\ud800" ]\n');
    assert.deepEqual(command, { form: "exec", args: ["a", "b\uFFFD"] });
  });

  for (const text of ['["a",]', "['a']", '["a"] b', '["a"', "[a]"]) {
    it(`takes ${text} for the shell form`, async () => {
      assert.deepEqual((await last("cmd", `CMD ${text}\n`)).command, { form: "shell", text });
    });
  }

  for (const text of ["[1]", "[null]", '[["a"]]', '["a", {}]']) {
    it(`refuses ${text}`, async () => {
      assert.match((await failure(`FROM a\nCMD ${text}\n`)).message, /comprised of strings only/);
    });
  }

  it("is demanded of SHELL", async () => {
    assert.deepEqual((await last("shell", 'SHELL ["sh", "-c"]\n')).args, ["sh", "-c"]);
    assert.match((await failure("FROM a\nSHELL sh -c\n")).message, /SHELL requires.*JSON form/);
    assert.match((await failure("FROM a\nSHELL []\n")).message, /SHELL requires at least one argument/);
  });
});

describe("here documents", () => {
  it("reads several, with descriptors, tabs and quotes", async () => {
    const run = await last("run", "RUN 3<<-A cat <<'B' <<C\n\tone\n\tA\ntwo\nB\nC\n");
    assert.deepEqual(run.heredocs, [
      { name: "A", fd: 3, chomp: true, expand: true, content: "one\n", raw: "\tone\n" },
      { name: "B", fd: 0, chomp: false, expand: false, content: "two\n", raw: "two\n" },
      { name: "C", fd: 0, chomp: false, expand: true, content: "", raw: "" },
    ]);
    assert.deepEqual(run.at.end, { line: 7, column: 2 });
    assert.equal(run.original, "RUN 3<<-A cat <<'B' <<C");
  });

  it("gives COPY its sources apart from its documents", async () => {
    const copy = await last("copy", 'COPY a <<E"O"F <<-x.txt /d\n$V\nEOF\n\tt\n\tx.txt\n');
    assert.deepEqual([copy.sources, copy.dest], [["a"], "/d"]);
    assert.deepEqual(
      copy.heredocs.map(({ name, content, expand }) => [name, content, expand]),
      [
        ["EOF", "$V\n", false],
        ["x.txt", "t\n", true],
      ],
    );
  });

  it("takes a blank before the name, but no shift for a document", async () => {
    const run = await last("run", "RUN cat << EOF > /x\nin\nEOF\n");
    assert.equal(run.heredocs[0]?.content, "in\n");
    const { instructions } = await parse("FROM a\nRUN echo $((1 << 4))\nRUN b\n");
    assert.equal(instructions.length, 3);
  });

  it("reads none in JSON form, other instructions, quotes, and <<<", async () => {
    for (const line of ['RUN ["a", "<<EOF"]', "CMD a <<EOF", "RUN echo '<<EOF'", "RUN cat <<<EOF"]) {
      assert.equal((await parse(`FROM a\n${line}\nUSER x\n`)).instructions.length, 3, line);
    }
  });

  it("keeps the line ends of a CRLF file in the content", async () => {
    assert.equal((await last("run", "RUN <<E\r\na\r\nE\r\n")).heredocs[0]?.raw, "a\r\n");
  });

  it("refuses one that does not end, and one as a destination", async () => {
    const error = await failure("FROM a\nRUN <<EOF\nx\n");
    assert.equal(error.message, "unterminated heredoc");
    assert.match(error.hint ?? "", /EOF/);
    assert.deepEqual([error.at?.start.line, error.at?.end.line], [2, 2]);
    assert.match((await failure("FROM a\nCOPY a <<EOF\nEOF\n")).message, /heredoc as a destination/);
  });
});

describe("instructions", () => {
  it("FROM: image, stage name in lower case, platform", async () => {
    const { instructions } = await parse("FROM --platform=$P img:1 as Build\nfrom b\n");
    const [first, second] = instructions;
    assert.ok(first?.kind === "from" && second?.kind === "from");
    assert.deepEqual([first.image, first.as, first.platform], ["img:1", "build", "$P"]);
    assert.deepEqual([second.image, second.as, second.platform, second.keyword], ["b", null, null, "from"]);
  });

  it("ENV and LABEL: pairs with their quotes, or the old form with one", async () => {
    const env = await last("env", 'ENV A="b c" D=e\\ f G=\n');
    assert.deepEqual(
      env.pairs.map(({ key, value, legacy }) => [key, value, legacy]),
      [
        ["A", '"b c"', false],
        ["D", "e\\ f", false],
        ["G", "", false],
      ],
    );
    const label = await last("label", "LABEL a  b = c\n");
    assert.deepEqual(
      label.pairs.map(({ key, value, legacy }) => [key, value, legacy]),
      [["a", "b = c", true]],
    );
  });

  it("ARG: several names, with and without a value", async () => {
    const arg = await last("arg", 'ARG a b= c="d e"\n');
    assert.deepEqual(
      arg.args.map(({ key, value }) => [key, value]),
      [
        ["a", null],
        ["b", ""],
        ["c", '"d e"'],
      ],
    );
  });

  it("EXPOSE is sorted, VOLUME trimmed, WORKDIR and USER keep their blanks", async () => {
    assert.deepEqual((await last("expose", "EXPOSE 90 80/tcp\n")).values, ["80/tcp", "90"]);
    assert.deepEqual((await last("volume", 'VOLUME [" /a ", "/b"]\n')).values, ["/a", "/b"]);
    assert.equal((await last("workdir", "WORKDIR  a  b \n")).value, "a  b");
  });

  it("HEALTHCHECK: NONE, both forms, checked options", async () => {
    assert.equal((await last("healthcheck", "HEALTHCHECK none\n")).test, "NONE");
    const check = await last("healthcheck", 'HEALTHCHECK --interval=1m30s --retries=3 CMD ["a"]\n');
    assert.deepEqual(check.test, { form: "exec", args: ["a"] });
    for (const [text, wrong] of [
      ["NONE x", /takes no arguments/],
      ["CMD", /Missing command/],
      ["RUN x", /Unknown type "RUN"/],
      ["--interval=1us CMD x", /cannot be less than 1ms/],
      ["--timeout=soon CMD x", /invalid duration "soon"/],
      ["--retries=-1 CMD x", /cannot be negative/],
      ["", /at least one argument/],
    ] as const) {
      assert.match((await failure(`FROM a\nHEALTHCHECK ${text}\n`)).message, wrong);
    }
  });

  it("ONBUILD: keeps the trigger with its document and does not look into it", async () => {
    const onbuild = await last("onbuild", "onbuild  RUN <<E  \nx\nE\n");
    assert.equal(onbuild.expression, "RUN <<E  \nx\nE");
    assert.equal((await last("onbuild", "ONBUILD NONSENSE --x\n")).expression, "NONSENSE --x");
    for (const trigger of ["ONBUILD RUN x", "from x", "MAINTAINER me"]) {
      assert.match((await failure(`FROM a\nONBUILD ${trigger}\n`)).message, /isn't allowed/);
    }
  });

  for (const [text, wrong] of [
    ["", "the Dockerfile cannot be empty"],
    ["# only\n", "file with no instructions"],
    ["ARG a\n", "dockerfile contains no stages to build"],
    ["RUN x\nFROM a\n", "no build stage in current context"],
    ["FROM\n", "dockerfile parse error on line 1: FROM requires either one or three arguments"],
    ["FROM a b\n", "dockerfile parse error on line 1: FROM requires either one or three arguments"],
    ["FROM a\nCOPY x\n", "dockerfile parse error on line 2: COPY requires at least two arguments"],
    ["FROM a\nARG =x\n", "dockerfile parse error on line 2: ARG names can not be blank"],
    ["FROM a\nENV =x\n", "dockerfile parse error on line 2: ENV names can not be blank"],
    ["FROM a\nENV x\n", "ENV must have two arguments"],
    ["FROM a\nENV\n", "dockerfile parse error on line 2: ENV requires at least one argument"],
    ["FROM a\nUSER\n", "dockerfile parse error on line 2: USER requires exactly one argument"],
    [
      'FROM a\nVOLUME [""]\n',
      "dockerfile parse error on line 2: VOLUME specified can not be an empty string",
    ],
  ] as const) {
    it(`refuses ${JSON.stringify(text)}`, async () => {
      const error = await failure(text);
      assert.equal(error.code, "DOCKERFILE_SYNTAX");
      assert.ok(error.message.startsWith(wrong), error.message);
    });
  }

  it("points at the word that is wrong", async () => {
    const misspelt = await failure("FROM a\n\n  CPOY a b\n");
    assert.equal(misspelt.message, "dockerfile parse error on line 3: unknown instruction: CPOY");
    assert.equal(misspelt.hint, "did you mean COPY?");
    assert.deepEqual(misspelt.at?.start, { line: 3, column: 3 });
    assert.deepEqual(misspelt.at?.end, { line: 3, column: 7 });
    const stage = await failure("FROM a \\\n AS a/b\n");
    assert.match(stage.message, /invalid name for build stage: "a\/b"/);
    assert.deepEqual(stage.at?.start, { line: 2, column: 5 });
    const pair = await failure("# escape=`\nFROM a\nENV a=b `\n  c\n");
    assert.match(pair.message, /can't find = in "c"/);
    assert.deepEqual(pair.at?.start, { line: 4, column: 3 });
  });

  it("reports the grammar of a later line before the meaning of an earlier one", async () => {
    assert.match((await failure("FROM a\nFOO\nENV x\n")).message, /ENV must have two arguments/);
  });

  it("returns what came before an error", async () => {
    const { parsed, error } = await readDockerfile("f", Buffer.from("FROM a AS X\nFOO\nUSER x\n"));
    assert.match(error?.message ?? "", /FOO/);
    assert.deepEqual(
      parsed.instructions.map(({ kind }) => kind),
      ["from"],
    );
    assert.deepEqual(
      parsed.warnings.map(({ rule }) => rule),
      ["StageNameCasing"],
    );
  });
});

describe("triggers of base images", () => {
  const at = { file: "Dockerfile", start: { line: 4, column: 1 }, end: { line: 4, column: 9 } };

  it("are read with a backslash as escape and placed at the FROM", () => {
    const run = parseTrigger("RUN --network=none <<E\nx\nE", at);
    assert.equal(run.kind === "run" && run.heredocs[0]?.content, "x\n");
    assert.deepEqual([run.at, run.flags[0]?.at], [at, at]);
  });

  for (const text of ["NONSENSE here", "FROM x", "", "RUN a\nRUN b", "COPY a"]) {
    it(`are refused: ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => parseTrigger(text, at),
        (error) => error instanceof BuildError && error.code === "DOCKERFILE_SYNTAX" && error.at === at,
      );
    });
  }
});

describe("any text", () => {
  const piece = fc.constantFrom(
    ..."FROM |RUN |COPY |ENV |ONBUILD |HEALTHCHECK |a|=|\n|\\\n|\\|'|\"|<<E|<<-|\nE\n|# escape=`\n|#|--x=|[|]|,|$|{|`|\r| |é|\u00a0".split(
      "|",
    ),
  );

  it("is parsed or refused with a BuildError, never anything else", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 40 }), async (pieces) => {
        const { error } = await readDockerfile("f", Buffer.from(pieces.join("")));
        assert.ok(error === null || error instanceof BuildError);
      }),
      { numRuns: 500 },
    );
  });

  it("keeps every line of a valid file within one instruction", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 40 }), async (pieces) => {
        const { parsed } = await readDockerfile("f", Buffer.from(`FROM a\n${pieces.join("")}`));
        let end = 0;
        for (const { at } of parsed.instructions) {
          assert.ok(at.start.line > end && at.end.line >= at.start.line);
          end = at.end.line;
        }
        assert.ok(end <= parsed.source.split("\n").length);
      }),
      { numRuns: 300 },
    );
  });
});

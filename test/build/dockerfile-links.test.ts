// Dockerfiles and ignore files that are links, FIFOs or endless: nothing outside the context is read or shown.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readContextFile, readUserFile } from "../../bin/engine/context-files.ts";
import { accounts } from "../support/unprivileged.ts";
import { type TemporaryDir, temporaryDir } from "../support/store.ts";
import { openWorkshop } from "./fixture.ts";

const SECRET = "TOP SECRET of the host";
const OUT = { code: "DOCKERFILE_MISSING", hint: /points outside the build context/ };

describe("a Dockerfile in an untrusted context", () => {
  let dir: TemporaryDir;
  let context: string;
  const read = async (path: string) => Buffer.from((await readContextFile(context, path)) ?? []).toString();

  beforeEach(() => {
    dir = temporaryDir();
    context = dir.at("context");
    mkdirSync(join(context, "sub"), { recursive: true });
    mkdirSync(dir.at("host"));
    writeFileSync(dir.at("host", "secret"), SECRET);
    writeFileSync(join(context, "sub", "real"), "FROM scratch\n");
    const links = {
      out: dir.at("host", "secret"),
      up: "../host/secret",
      folder: dir.at("host"),
      proc: "/proc/self/environ",
      loop: "loop",
      inside: "sub/real",
      absolute: "/sub/real",
      above: "../../../sub/real",
      way: "sub",
      chain: "way/../absolute",
    };
    for (const [name, target] of Object.entries(links)) symlinkSync(target, join(context, name));
  });
  afterEach(() => dir[Symbol.dispose]());

  it("is not read through a link to a file of the host", async () => {
    for (const name of ["out", "up", "folder/secret", "proc", "loop"]) {
      await assert.rejects(read(name), OUT, name);
      await assert.rejects(readUserFile(join(context, name), context), OUT, name);
    }
  });

  it("is read through links that stay inside, with the context as the root", async () => {
    for (const name of ["inside", "absolute", "above", "way/real", "chain", "sub/../../inside"]) {
      assert.equal(await read(name), "FROM scratch\n", name);
    }
    assert.equal(await readContextFile(context, "none"), null);
    assert.equal(await readContextFile(context, "sub/real/none"), null);
    assert.equal(await readContextFile(context, "../host/secret"), null);
  });

  it("is untrusted however its context is named, and the user's own elsewhere", async () => {
    symlinkSync(context, dir.at("named"));
    await assert.rejects(readUserFile(join(context, "out"), dir.at("named")), OUT);
    await assert.rejects(readUserFile(dir.at("named", "out"), context), OUT);
    symlinkSync("host/secret", dir.at("own-link"));
    for (const path of [dir.at("host", "secret"), dir.at("own-link")]) {
      assert.equal(Buffer.from((await readUserFile(path, context)) ?? []).toString(), SECRET);
    }
    assert.equal(await readUserFile(dir.at("none"), context), null);
  });

  it("neither blocks nor fills the memory when it is no plain file", async () => {
    execFileSync("mkfifo", [join(context, "fifo")]);
    symlinkSync("fifo", join(context, "to-fifo"));
    writeFileSync(join(context, "large"), "");
    truncateSync(join(context, "large"), 1e12);
    symlinkSync("large", join(context, "to-large"));
    symlinkSync("/dev/zero", dir.at("own-zero"));
    for (const name of ["fifo", "to-fifo", "sub"]) {
      await assert.rejects(read(name), { code: "DOCKERFILE_MISSING", message: /not a file$/ }, name);
    }
    await assert.rejects(readUserFile(dir.at("own-zero"), context), { code: "DOCKERFILE_MISSING" });
    for (const name of ["large", "to-large"]) {
      await assert.rejects(read(name), { code: "LIMIT_EXCEEDED" }, name);
    }
  });
});

describe("an excerpt of a Dockerfile", () => {
  for (const account of accounts()) {
    it(`shows nothing of the host, as ${account.name}`, async () => {
      using shop = await openWorkshop(account);
      shop.context("host", { secret: `${SECRET}\n`, "context/real": "FROM scratch\nCOPY x /\n", x: "" });
      const context = shop.at("host", "context");
      const links = {
        Dockerfile: "../secret",
        "x.dockerignore": "/etc/passwd",
        ".dockerignore": "../secret",
      };
      for (const [name, target] of Object.entries(links)) symlinkSync(target, join(context, name));
      const tar = execFileSync("tar", ["-C", context, "-c", "."], { encoding: "latin1" });
      const ways: [string[], string?][] = [
        [["build", context]],
        [["build", "-f", join(context, "Dockerfile"), context]],
        [["build", "--call=check", context]],
        [["build", "-f", join(context, "real"), context]], // its ignore file
        [["build", "-"], tar],
        [["build", "-f", "Dockerfile", "-"], tar],
        [["build", "--build-context", `c=${context}`, "-f", shop.at("host", "own"), shop.at("host")]],
      ];
      shop.context("host", { own: "FROM scratch\nCOPY --from=c real /\n" });
      for (const [args, input] of ways) {
        const outcome = await shop.run(args, input === undefined ? {} : { input });
        assert.equal(outcome.code, 1, args.join(" "));
        assert.match(outcome.stderr, /points outside the build context/, args.join(" "));
        assert.doesNotMatch(outcome.stdout + outcome.stderr, /SECRET|root:/, args.join(" "));
      }
    });
  }
});

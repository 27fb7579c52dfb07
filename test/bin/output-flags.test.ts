import { deepEqual, equal, throws } from "node:assert/strict";
import { readOutputFlags } from "../../bin/output-flags.ts";

const unknown: string[] = [];
const read = (texts: readonly string[], push = false, load = false) =>
  readOutputFlags(texts, { push, load, cwd: "/w", onUnknown: (attribute) => void unknown.push(attribute) });

describe("outputs of a build", () => {
  it("have paths relative to the working directory", () => {
    const [archive] = read(["type=oci,dest=out/a.tar"]);
    deepEqual(archive?.kind === "archive" && archive.dest, { kind: "path", path: "/w/out/a.tar" });
    const [files] = read(["out"]);
    deepEqual(files?.kind === "files" && files.dest, { kind: "path", path: "/w/out" });
    const [stream] = read(["-"]);
    deepEqual(stream?.kind === "files" && stream.dest, { kind: "client", name: "-" });
  });

  it("tell of attributes that nobody knows", () => {
    unknown.length = 0;
    read(["type=oci,dest=x,colour=red,push=false"]);
    deepEqual(unknown, ["colour=red", "push=false"]);
  });

  it("are pushed with --push, and there is one to push", () => {
    deepEqual(
      read([], true).map((output) => output.kind === "image" && output.push),
      [true],
    );
    deepEqual(
      read(["type=image,name=a"], true).map((output) => output.kind === "image" && output.push),
      [true],
    );
    deepEqual(
      read(["type=oci,dest=x"], true).map((output) => output.kind),
      ["archive", "image"],
    );
    deepEqual(
      read(["type=local,dest=x"], true).map((output) => output.kind),
      ["files", "image"],
    );
  });

  it("are loaded with --load, once", () => {
    equal(read([], false, true).length, 1);
    equal(read(["type=docker"], false, true).length, 1);
    deepEqual(
      read(["type=docker,dest=x.tar"], false, true).map((output) => output.kind),
      ["archive", "archive"],
    );
  });

  it("do not share standard output", () => {
    throws(() => read(["-", "type=oci,dest=-"]), /only one output can go to standard output/);
  });
});

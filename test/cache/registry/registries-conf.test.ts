import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openPlaces } from "../../../cache/registry/places.ts";
import { formatRepository, parseReference } from "../../../cache/registry/reference.ts";
import { readRegistriesConf } from "../../../cache/registry/registries-conf.ts";

/** The example of containers-registries.conf(5), and some more. */
const EXAMPLE = `
unqualified-search-registries = ["example.com"]
[[registry]]
prefix = "example.com/foo"
location = "internal.example/bar"
[[registry.mirror]]
location = "mirror-0.example/mirror-for-foo"
[[registry.mirror]]
location = "mirror-1.example/mirrors/foo"
insecure = true

[[registry]]
prefix = "example.com/foo/deep"
blocked = true

[[registry]]
prefix = "*.wild.example"
location = "proxy.example:5000/wild"

[[registry]]
location = "lax.example:5000"
insecure = true

[[registry]]
prefix = "docker.io"
[[registry.mirror]]
location = "hub.example"
pull-from-mirror = "digest-only"
`;

describe("registries.conf", () => {
  let dir = "";
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-registries-"));
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  const write = (name: string, text: string): string => {
    const path = join(dir, name);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, text);
    return path;
  };
  const open = (
    main: readonly string[],
    more: readonly string[] = [],
    mirrors: readonly { host: string; mirror: string }[] = [],
  ) =>
    openPlaces({
      conf: { main, more },
      hostDirs: [join(dir, "certs.d")],
      mirrors,
      authorities: async () => null,
      notice: () => {},
    });
  /** What is asked in turn when a name is read. */
  const asked = async (book: ReturnType<typeof open>, name: string): Promise<readonly string[]> => {
    const { mirrors, source } = await book.placesOf(parseReference(name));
    return [...mirrors.map(({ at }) => at), source].map(
      (at) => `${formatRepository(at)}${at.insecure ? " insecure" : ""}`,
    );
  };

  it("leads to mirrors in their order, then to the location", async () => {
    const book = open([write("a.conf", EXAMPLE)]);
    assert.deepEqual(await asked(book, "example.com/foo/image:latest"), [
      "mirror-0.example/mirror-for-foo/image",
      "mirror-1.example/mirrors/foo/image insecure",
      "internal.example/bar/image",
    ]);
    const { target } = await book.placesOf(parseReference("example.com/foo/image"));
    assert.equal(formatRepository(target), "example.com/foo/image");
  });

  it("counts by the longest prefix, which ends where a name's part does", async () => {
    const file = write("a.conf", EXAMPLE);
    const book = open([file]);
    const deep = await book.placesOf(parseReference("example.com/foo/deep/image"));
    assert.equal(deep.blockedBy, file);
    assert.deepEqual(await asked(book, "example.com/foobar"), ["example.com/foobar"]);
    assert.deepEqual(await asked(book, "a.wild.example/x/y"), ["proxy.example:5000/wild/x/y"]);
    assert.deepEqual(await asked(book, "lax.example:5000/x"), ["lax.example:5000/x insecure"]);
    assert.deepEqual(await asked(book, "lax.example/x"), ["lax.example/x"]);
  });

  it("may have mirrors for what is named by its digest only", async () => {
    const { mirrors } = await open([write("a.conf", EXAMPLE)]).placesOf(parseReference("alpine"));
    assert.deepEqual(
      mirrors.map(({ at, byTag, byDigest }) => [formatRepository(at), byTag, byDigest]),
      [["hub.example/library/alpine", false, true]],
    );
  });

  it("is the user's, else the machine's, and more files change single registries", async () => {
    const machine = write("machine.conf", '[[registry]]\nlocation = "one.example"\ninsecure = true\n');
    const user = write("user.conf", '[[registry]]\nlocation = "two.example"\ninsecure = true\n');
    write("more/50.conf", '[[registry]]\nlocation = "two.example"\nblocked = true\n');
    write("more/60.text", "no TOML");
    const of = async (main: readonly string[], more: readonly string[] = []) =>
      (await readRegistriesConf({ main, more })).map(({ prefix, insecure, blocked }) => [
        prefix,
        insecure,
        blocked,
      ]);
    assert.deepEqual(await of([user, machine]), [["two.example", true, false]]);
    assert.deepEqual(await of([join(dir, "none.conf"), machine]), [["one.example", true, false]]);
    assert.deepEqual(await of([user, machine], [join(dir, "more")]), [["two.example", false, true]]);
  });

  it("may have the lists of its first version", async () => {
    const file = write(
      "old.conf",
      "[registries.insecure]\nregistries = ['a.example']\n[registries.block]\nregistries = ['b.example']\n",
    );
    const book = open([file]);
    assert.deepEqual(await asked(book, "a.example/x"), ["a.example/x insecure"]);
    assert.equal((await book.placesOf(parseReference("b.example/x"))).blockedBy, file);
  });

  it("that is no TOML is named with the line", async () => {
    const file = write("bad.conf", "[[registry]]\nlocation = unquoted\n");
    await assert.rejects(open([file]).placesOf(parseReference("alpine")), {
      code: "REGISTRY_UNREACHABLE",
      message: new RegExp(`cannot use ${file}: line 2: `),
    });
  });

  it("comes after hosts.toml, which comes after flags", async () => {
    const file = write(
      "a.conf",
      '[[registry]]\nlocation = "docker.io"\n[[registry.mirror]]\nlocation = "third.example"\n',
    );
    write("certs.d/docker.io/hosts.toml", '[host."https://second.example/ns"]\n');
    const book = open([file], [], [{ host: "docker.io", mirror: "http://first.example/hub" }]);
    assert.deepEqual(await asked(book, "alpine"), [
      "http://first.example/hub/library/alpine",
      "https://second.example/library/alpine",
      "third.example/library/alpine",
      "docker.io/library/alpine",
    ]);
  });
});

// Support for containerd's docs/hosts.md, in the order of that page.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { openPlaces, type PlacesOptions } from "../../../cache/registry/places.ts";
import { formatRepository, parseReference } from "../../../cache/registry/reference.ts";
import { temporaryDir, type TemporaryDir } from "../../support/store.ts";

describe("hosts.toml", () => {
  let dir: TemporaryDir;
  beforeEach(() => void (dir = temporaryDir()));
  afterEach(() => dir[Symbol.dispose]());

  const open = (files: Readonly<Record<string, string>>, change: Partial<PlacesOptions> = {}) => {
    for (const [name, text] of Object.entries(files)) {
      const path = dir.at(name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    return openPlaces({
      conf: { main: [dir.at("registries.conf")], more: [] },
      hostDirs: [dir.path],
      mirrors: [],
      authorities: async () => null,
      notice: () => {},
      ...change,
    });
  };
  const of = async (text: string, name = "up.example/x") =>
    await open({ [`${parseReference(name).host}/hosts.toml`]: text }).placesOf(parseReference(name));
  const addresses = (places: Awaited<ReturnType<typeof of>>) =>
    [...places.mirrors.map(({ at }) => at), places.source].map(
      (at) => `${at.host}${at.apiRoot ?? "/v2"}/${at.repository} ${at.manner?.namespace ?? "-"}`,
    );

  it("asks mirrors below the API's root, by the name of the registry they stand in for", async () => {
    const places = await of(
      `[host."https://a.example"]\n[host."https://b.example/us"]\n[host."c.example/v2/"]\n` +
        `[host."https://d.example/v2/up"]\noverride_path = true\n[host."https://e.example"]\noverride_path = true\n`,
    );
    assert.deepEqual(addresses(places), [
      "https://a.example/v2/x up.example",
      "https://b.example/us/v2/x up.example",
      "https://c.example/v2/x up.example",
      "https://d.example/v2/up/x up.example",
      "https://e.example/x up.example",
      "up.example/v2/x -",
    ]);
  });

  it("may have the registry elsewhere, also without TLS at the same place", async () => {
    assert.deepEqual(addresses(await of('server = "https://cache.example/sub"\n')), [
      "https://cache.example/sub/v2/x up.example",
    ]);
    assert.deepEqual(addresses(await of('server = "http://up.example"\n')), ["http://up.example/v2/x -"]);
    for (const server of ["https://docker.io", "https://registry-1.docker.io", "registry-1.docker.io/v2"]) {
      const places = await of(`server = "${server}"\n`, "alpine");
      assert.match(String(addresses(places)), /^(?:https:\/\/)?docker\.io\/v2\/library\/alpine -$/);
    }
  });

  it("is found in the folder of the host, with a port in both spellings, and for all hosts", async () => {
    const book = open({
      "up.example:5000/hosts.toml": 'server = "https://second.example"\n',
      "up.example_5000_/hosts.toml": 'server = "https://first.example"\n',
      "_default/hosts.toml": 'server = "https://any.example"\n',
    });
    const at = async (name: string) => formatRepository((await book.placesOf(parseReference(name))).target);
    assert.equal(await at("up.example:5000/x"), "https://first.example/x");
    assert.equal(await at("up.example/x"), "https://any.example/x");
  });

  it("says what mirrors may be asked for; pushes go only to who is said to take them", async () => {
    const places = await of(
      '[host."https://all.example"]\n[host."https://a.example"]\ncapabilities = ["pull"]\n' +
        '[host."https://b.example"]\ncapabilities = ["Resolve", "pull"]\n',
    );
    assert.deepEqual(
      places.mirrors.map(({ byTag, byDigest }) => [byTag, byDigest]),
      [
        [true, true],
        [false, true],
        [true, true],
      ],
    );
    assert.equal(places.target.host, "up.example");
    const taken = await of('[host."https://a.example"]\ncapabilities = ["push"]\n');
    assert.equal(taken.target.host, "https://a.example");
    assert.deepEqual(
      taken.mirrors.map(({ byTag, byDigest }) => [byTag, byDigest]),
      [[false, false]],
    );
  });

  it("says what the registry itself may be asked for", async () => {
    const { closed } = await of('capabilities = ["pull"]\n');
    assert.deepEqual(closed, { to: ["resolve", "push"], file: dir.at("up.example/hosts.toml") });
    assert.equal((await of('server = "https://up.example"\n')).closed, null);
  });

  it("has headers, a time to connect and a proxy for a host, and other ones for the registry itself", async () => {
    const { mirrors, source, target } = await of(
      'dial_timeout = "1m1.5s"\n[header]\nX-Own = "1"\n[host."https://a.example"]\ndial_timeout = "250ms"\n' +
        'proxy = "http://proxy.example:8080"\n[host."https://a.example".header]\nX-A = ["p", "q"]\nx-b = "r"\n',
    );
    const { tls: _none, ...manner } = mirrors[0]?.at.manner ?? {};
    assert.deepEqual(
      { ...manner, headers: { ...manner.headers } },
      {
        namespace: "up.example",
        headers: { "x-a": "p, q", "x-b": "r" },
        dialTimeoutMs: 250,
        proxy: new URL("http://proxy.example:8080"),
      },
    );
    for (const at of [source, target]) {
      assert.deepEqual({ ...at.manner?.headers }, { "x-own": "1" });
      assert.equal(at.manner?.dialTimeoutMs, 61_500);
    }
  });

  it("hides passwords of addresses when it names a key it does not know", async () => {
    const said: string[] = [];
    await open(
      { "up.example/hosts.toml": '[host."https://u:hidden@a.example"]\nfoo = 1\n' },
      {
        notice: (text) => void said.push(text),
      },
    ).placesOf(parseReference("up.example/app"));
    assert.match(said.join(), /unknown key "?foo/);
    assert.doesNotMatch(said.join(), /hidden/);
  });

  it("gives nothing of a host to another location of registries.conf", async () => {
    const book = open({
      "up.example/hosts.toml": '[header]\nx-own = "1"\n',
      "registries.conf": '[[registry]]\nprefix = "up.example"\nlocation = "other.example"\n',
    });
    const { source, target } = await book.placesOf(parseReference("up.example/x"));
    assert.deepEqual([source.host, source.manner], ["other.example", undefined]);
    assert.deepEqual([target.host, { ...target.manner?.headers }], ["up.example", { "x-own": "1" }]);
  });

  it("with keys that nobody knows says so once", async () => {
    const said: string[] = [];
    const book = open(
      {
        "up.example/hosts.toml": 'retries = 1\n[host."https://a.example"]\ncert = "x"\n[header]\nany = "1"\n',
      },
      { notice: (text) => void said.push(text) },
    );
    for (const name of ["up.example/x", "up.example/y"]) await book.placesOf(parseReference(name));
    assert.deepEqual(said, [
      `${dir.at("up.example/hosts.toml")}: unknown keys "retries", "cert" of [host."https://a.example"]`,
    ]);
  });

  for (const [text, problem] of [
    ['server = ["a"]', "server is not a string"],
    ['host = "a"', "host is not a table"],
    ['[host]\na = "b"', '[host."a"] is not a table'],
    ['[host."ftp://a"]', '"ftp://a" is not the address of a registry'],
    ['capabilities = "pull"', "capabilities: not a list of strings"],
    ['capabilities = ["fetch"]', 'capabilities: "fetch" is not one of pull, resolve, push'],
    ["ca = 1", "ca: not a file or a list of files"],
    ['[host."https://a"]\nskip_verify = "yes"', '[host."https://a"], skip_verify: must be true or false'],
    ['client = [["a"]]', 'client: not a file, a list of files, or a list of pairs ["cert", "key"]'],
    ['header = "x"', "header: not a table"],
    ['[header]\n"x y" = "1"', 'header: "x y" is not a valid header with a string or a list of strings'],
    ['[header]\nx = "a\\nb"', 'header: "x" is not a valid header with a string or a list of strings'],
    ['[header]\nHost = "b"', 'header: "Host" cannot be set: tsbuild sets it itself'],
    ['dial_timeout = "soon"', 'dial_timeout: not a time like "5s"'],
    [`dial_timeout = "${"00m".repeat(40)}!"`, 'dial_timeout: not a time like "5s"'],
    ['proxy = "socks5://p:1"', "proxy: socks5:// proxies are not supported, http:// ones are"],
    ['proxy = "p"', "proxy: not an address like http://HOST:PORT"],
  ] as const) {
    it(`that says something unusable is named: ${JSON.stringify(text)}`, async () => {
      await assert.rejects(of(`${text}\n`), {
        code: "REGISTRY_UNREACHABLE",
        message: `cannot use ${dir.at("up.example/hosts.toml")}: ${problem}`,
      });
    });
  }
});

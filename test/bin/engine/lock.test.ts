// The document of a lock, and the JSON that it is read as.

import assert from "node:assert/strict";
import fc from "fast-check";
import { keyOf, type Lock } from "../../../bin/engine/lock.ts";
import { renderChange, lockChanges, updatedLock, withoutEntries } from "../../../bin/engine/lock-changes.ts";
import { formatLock, parseLock } from "../../../bin/engine/lock-document.ts";
import { type JsonNode, plainValue, readJson } from "../../../bin/engine/strict-json.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import type { Attrs } from "../../../solver/graph/op.ts";

const digest = fc.string().map(digestOf);
const name = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const lock: fc.Arbitrary<Lock> = fc.record({
  images: fc
    .array(
      fc.tuple(
        fc.tuple(name, name).map(([repository, tag]) => `registry.test/${repository}:${tag}`),
        fc.record({
          digest,
          platforms: fc
            .array(
              fc.tuple(
                name.map((one) => `linux/${one}`),
                digest,
              ),
            )
            .map((list) => new Map(list)),
          isLocal: fc.boolean(),
        }),
      ),
    )
    .map((list) => new Map(list)),
  urls: fc.array(fc.tuple(fc.webUrl({ withQueryParameters: true }), digest)).map((list) => new Map(list)),
  git: fc
    .array(
      fc.tuple(
        name.map((one) => `git@host:${one}.git#v1`),
        fc.stringMatching(/^[0-9a-f]{40}$/),
      ),
    )
    .map((list) => new Map(list)),
});

describe("a lock", () => {
  it("that is updated keeps what others have added since it was read", () => {
    const of = (name: string, word: string, ...platforms: string[]) =>
      [
        `registry.test/${name}:1`,
        {
          digest: digestOf(word),
          platforms: new Map(platforms.map((one) => [one, digestOf(word + one)])),
          isLocal: false,
        },
      ] as const;
    const lockOf = (...images: ReturnType<typeof of>[]): Lock => ({
      images: new Map(images),
      ...{ urls: new Map(), git: new Map() },
    });
    const read = lockOf(of("a", "old", "linux/amd64"), of("unused", "x"), of("b", "same", "linux/s390x"));
    const now = lockOf(
      ...[of("a", "old", "linux/amd64", "linux/arm64"), of("unused", "x"), of("added", "y")],
      of("b", "same", "linux/arm64", "linux/s390x"),
    );
    const used = lockOf(of("a", "new", "linux/amd64"), of("b", "same", "linux/amd64"));
    const [a, b] = [of("a", "new", "linux/amd64"), of("b", "same", "linux/arm64", "linux/amd64")];
    const plain = ({ images }: Lock) =>
      [...images].map(([key, one]) => [key, one.digest, [...one.platforms]]).sort();
    const after = updatedLock({ read, now, used }, false);
    assert.deepEqual(plain(after), plain(lockOf(a, b, of("added", "y"))));
    const kept = updatedLock({ read, now, used }, true);
    assert.deepEqual([...kept.images.keys()].sort(), [...now.images.keys()].sort());
  });

  it("is read as it was written, and written the same in any order", () => {
    fc.assert(
      fc.property(lock, (one) => {
        const text = formatLock(one);
        const read = parseLock(text, "lock");
        assert.deepEqual(lockChanges(one, read), []);
        const reversed = {
          ...one,
          images: new Map([...one.images].reverse()),
          urls: new Map([...one.urls].reverse()),
        };
        assert.equal(formatLock(reversed), text);
        assert.equal(formatLock(read), text);
      }),
    );
  });

  it("is JSON, of which no more and no less is read than JSON.parse reads", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), fc.nat(), fc.string(), (text, at, more) => {
        const broken = `${text.slice(0, at % (text.length + 1))}${more}${text.slice(at % (text.length + 1))}`;
        for (const one of [text, JSON.stringify(JSON.parse(text), null, 2), broken]) {
          let expected: unknown;
          try {
            expected = JSON.parse(one);
          } catch {
            assert.throws(() => readJson(one), one);
            continue;
          }
          let read: JsonNode;
          try {
            read = readJson(one);
          } catch (error) {
            assert.match(String(error), /a second time|too deeply nested/, one); // which JSON.parse takes
            continue;
          }
          assert.deepEqual(JSON.stringify(plainValue(read)), JSON.stringify(expected), one);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("is refused in linear time where a text has no end", () => {
    for (const text of ["a", "\\\\", '\\"', "\\u0041"].map((part) => `{"${part.repeat(100_000)}`))
      assert.throws(() => readJson(text), { message: /^expected a name, found "/, line: 1 });
  });

  it("has a line for each value of its JSON", () => {
    const { value } = readJson('{\n"a": 1,\n\n"b": {\n  "c":\n2}}');
    const top = value as Map<string, JsonNode>;
    const inner = top.get("b")?.value as Map<string, JsonNode>;
    assert.deepEqual([top.get("a")?.line, top.get("b")?.line, inner.get("c")?.line], [2, 4, 6]);
  });

  it("has an entry for references, and none for what says its bytes itself or is on this machine", () => {
    const keys = (identifier: string, attrs: Attrs = {}): string | null =>
      keyOf({ kind: "source", identifier, attrs })?.key ?? null;
    const commit = "a".repeat(40);
    assert.equal(keys("docker-image://alpine"), "docker.io/library/alpine:latest");
    assert.equal(keys(`docker-image://alpine:3@${digestOf("")}`), null);
    assert.equal(keys("https://user:word@host/f?token=x"), "https://host/f?token=xxxxx");
    assert.equal(keys("https://host/f", { "http.checksum": digestOf("") }), null);
    assert.equal(keys("git://host/a.git#v1:dir"), "https://host/a.git#v1");
    assert.equal(keys("git://host/a.git", { "git.fullurl": "ssh://git@host/a.git" }), "ssh://git@host/a.git");
    const ssh = { "git.fullurl": "ssh://me:word@host/a.git" };
    assert.equal(keys("git://host/a.git", ssh), "ssh://me@host/a.git");
    assert.equal(keys("git://host/a.git#:dir", { "git.fullurl": "git@host:a.git" }), "git@host:a.git");
    assert.equal(keys("git://host/a.git", { "git.fullurl": "host/a.git" }), "https://host/a.git");
    assert.equal(keys(`git://host/a.git#${commit}`), null);
    assert.equal(keys("git://host/a.git#v1", { "git.checksum": commit }), null);
    for (const identifier of [
      "local://context",
      "oci-layout://x:1",
      `docker-image://${commit}${"b".repeat(24)}`,
    ])
      assert.equal(keys(identifier), null, identifier);
  });

  it("is shown as what changes, in the order of the file", () => {
    const [one, two] = [digestOf("1"), digestOf("2")];
    const image = (at: typeof one, ...platforms: string[]) => ({
      ...{ digest: at, isLocal: false },
      platforms: new Map(platforms.map((platform) => [platform, one])),
    });
    const before: Lock = {
      images: new Map([
        ["docker.io/library/a:1", image(one, "linux/amd64")],
        ["docker.io/library/b:1", image(one)],
      ]),
      urls: new Map([["https://x/", one]]),
      git: new Map(),
    };
    const after: Lock = {
      images: new Map([
        ["docker.io/library/b:1", image(two)],
        ["docker.io/library/a:1", image(one, "linux/arm64")],
      ]),
      urls: new Map(),
      git: new Map([["https://g/", "c0"]]),
    };
    assert.equal(
      lockChanges(before, after).map(renderChange).join(""),
      [
        "~ docker.io/library/a:1\n    platforms: linux/amd64, linux/arm64\n",
        `~ docker.io/library/b:1\n    - ${one}\n    + ${two}\n`,
        `- https://x/\n    - ${one}\n`,
        "+ https://g/\n    + c0\n",
      ].join(""),
    );
    assert.deepEqual([...withoutEntries(before, ["a"], "f").images.keys()], ["docker.io/library/b:1"]);
    assert.throws(() => withoutEntries(before, ["bb:1"], "f"), { hint: "did you mean b:1?" });
  });
});

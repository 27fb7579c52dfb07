// Which sources a policy lets pass, and what it makes of them: BuildKit's docs/build-repro.md, "Source policy".

import assert from "node:assert/strict";
import { parsePolicy } from "../../../bin/source-policy-file.ts";
import { openPolicyRules, RULES_MAX, withFullName } from "../../../bin/engine/source-policy.ts";

const ALPINE = "docker-image://docker.io/library/alpine:latest";

async function evaluate(rules: readonly object[], identifier: string, attrs: Record<string, string> = {}) {
  const policy = parsePolicy(JSON.stringify({ version: 1, rules }));
  const source = { kind: "source", identifier, attrs } as const;
  const result = await openPolicyRules([policy]).evaluate(source, { signal: new AbortController().signal });
  return result === source ? "same" : { identifier: result.identifier, attrs: result.attrs };
}

const rule = (action: string, identifier: string, more: object = {}, to?: object) => ({
  action,
  selector: { identifier, ...more },
  ...(to === undefined ? {} : { updates: to }),
});

describe("a source policy", () => {
  it("of the rules that allow or deny, the last that matches counts", async () => {
    const deny = rule("DENY", "docker-image://*");
    const allow = rule("ALLOW", ALPINE);
    assert.equal(await evaluate([deny, allow], ALPINE), "same");
    await assert.rejects(evaluate([allow, deny], ALPINE), {
      code: "SOURCE_DENIED",
      message: `source "${ALPINE}" denied by policy: source denied by policy`,
    });
    assert.equal(await evaluate([deny], "git://github.com/a/b"), "same");
  });

  it("converts with what its wildcards, groups and attributes say", async () => {
    const to = (identifier: string, attrs: object = {}) => ({ identifier, attrs });
    assert.deepEqual(
      await evaluate(
        [
          rule(
            "CONVERT",
            "docker-image://docker.io/library/*:*",
            {},
            to("docker-image://mirror.test/$1:${2}-x"),
          ),
        ],
        ALPINE,
      ),
      { identifier: "docker-image://mirror.test/alpine:latest-x", attrs: {} },
    );
    const regex = { match_type: "REGEX" };
    assert.deepEqual(
      await evaluate(
        [rule("CONVERT", "^https://(?P<host>[^/]+)/", regex, to("http://proxy.test/${host}/$host_/"))],
        "https://a.test/file",
      ),
      { identifier: "http://proxy.test/a.test//file", attrs: {} },
    );
    assert.deepEqual(
      await evaluate(
        [
          rule(
            "CONVERT",
            "https://a.test/f",
            { match_type: "EXACT" },
            { attrs: { "http.checksum": "sha256:1" } },
          ),
        ],
        "https://a.test/f",
        { "http.filename": "f" },
      ),
      {
        identifier: "https://a.test/f",
        attrs: { "http.filename": "f", "http.checksum": "sha256:1" },
      },
    );
  });

  it("judges what it has converted again, and ends when it goes round in circles", async () => {
    const convert = (from: string, to: string) => rule("CONVERT", from, {}, { identifier: to });
    await assert.rejects(
      evaluate([convert(ALPINE, "docker-image://x/y:1"), rule("DENY", "*x/y:1")], ALPINE),
      {
        message: /source "docker-image:\/\/x\/y:1" denied by policy/,
      },
    );
    await assert.rejects(evaluate([convert("a://1", "a://2"), convert("a://2", "a://1")], "a://1"), {
      message: /too many mutations on a single source/,
    });
    await assert.rejects(evaluate([rule("CONVERT", ALPINE)], ALPINE), /missing destination/);
  });

  it("matches only sources whose attributes meet all constraints", async () => {
    const constrained = (condition: string | number, value: string) =>
      evaluate(
        [rule("DENY", "https://*", { constraints: [{ key: "http.checksum", value, condition }] })],
        "https://a.test/f",
        { "http.checksum": "sha256:1" },
      );
    await assert.rejects(constrained("EQUAL", "sha256:1"));
    assert.equal(await constrained("EQUAL", "sha256:2"), "same");
    await assert.rejects(constrained(1, "sha256:2"));
    await assert.rejects(constrained("MATCHES", "^sha256:\\d$"));
    assert.equal(await constrained("MATCHES", "^md5"), "same");
  });

  it("takes expressions of any kind in linear time, and a limited number of rules", async () => {
    const regex = { match_type: "REGEX" };
    assert.equal(await evaluate([rule("DENY", "^(a+)+$", regex)], `${"a".repeat(16_000)}!`), "same");
    await assert.rejects(evaluate([rule("DENY", "(", regex)], "a"), { code: "USAGE" });
    await assert.rejects(evaluate([rule("DENY", "**")], "a"), { message: /invalid wildcard/ });
    await assert.rejects(evaluate([rule("DENY", "*")], "a".repeat(20_000)), { code: "LIMIT_EXCEEDED" });
    const many = Array.from({ length: RULES_MAX + 1 }, () => rule("DENY", "b"));
    await assert.rejects(evaluate(many, "a"), { code: "LIMIT_EXCEEDED" });
  });

  it("leaves others their time, and takes only so much for all sources", async () => {
    const regex = { match_type: "REGEX" };
    for (const complex of [`(${".*".repeat(400)}){1000}`, "(.*x){1000}".repeat(90), "a{900}b{900}c{900}"])
      await assert.rejects(evaluate([rule("DENY", complex, regex)], "a".repeat(16_000)), {
        code: "USAGE",
        message: /too complex/,
      });
    const digest = "^docker-image://[a-z.]{1,63}/[a-z]{1,63}@sha256:[a-f0-9]{64}$";
    await assert.rejects(
      evaluate([rule("DENY", digest, regex)], `docker-image://a.b/c@sha256:${"0".repeat(64)}`),
      {
        code: "SOURCE_DENIED",
      },
    );
    const slow = Array.from({ length: RULES_MAX }, (_, n) =>
      rule("DENY", `${"(.*a)".repeat(100)}{9}${n}b`, regex),
    );
    let turns = 0;
    let last = performance.now();
    let longest = 0;
    const timer = setInterval(() => {
      turns++;
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    try {
      await assert.rejects(evaluate(slow, "a".repeat(16_000)), {
        code: "LIMIT_EXCEEDED",
        message: /too complex/,
      });
    } finally {
      clearInterval(timer);
    }
    assert.ok(turns > 10 && longest < 5000, `${turns} turns, the longest of ${longest} ms`);
  });

  it("is read from JSON in which enums are names or numbers, and names of fields count in any case", () => {
    assert.deepEqual(parsePolicy('{"Rules":[{"action":1,"selector":{"Identifier":"a","match_type":2}}]}'), {
      rules: [
        {
          action: "DENY",
          selector: { identifier: "a", matchType: "REGEX", constraints: [] },
          updates: null,
        },
      ],
    });
    const action = (value: string): string => `{"rules":[{"action":${value},"selector":{}}]}`;
    assert.throws(() => parsePolicy(action('"deny"')), /invalid action: "deny" \(did you mean "DENY"\?\)/);
    for (const value of ['["length"]', "true", "0.5", "{}", `${"[".repeat(200_000)}${"]".repeat(200_000)}`])
      assert.throws(
        () => parsePolicy(action(value)),
        (error: Error) => /invalid action: .{1,30}$/.test(error.message),
        value.slice(0, 20),
      );
    assert.throws(
      () => parsePolicy(action(`"${"A".repeat(500_000)}"`)),
      (error: Error) => error.message.length < 200,
    );
    for (const text of ["", "[]", '{"rules":[{}]}', '{"rules":[{"action":"NO","selector":{}}]}'])
      assert.throws(() => parsePolicy(text), /failed to parse source policy/, text);
  });

  it("knows images by their full names", () => {
    const named = (identifier: string) => withFullName({ kind: "source", identifier, attrs: {} }).identifier;
    assert.equal(named("docker-image://alpine"), ALPINE);
    assert.equal(named("git://a/b"), "git://a/b");
    assert.equal(named("git://a/b.git#main:../x/./y/"), "git://a/b.git#main:x/y");
  });

  it("knows repositories by the address that git is called with", async () => {
    const named = (url: string) =>
      withFullName({
        kind: "source",
        identifier: "git://good.test/repo.git#v1",
        attrs: { "git.fullurl": url },
      }).identifier;
    for (const url of [
      "https://u:p@evil.test/x.git",
      "ssh://git@evil.test//x.git",
      "git@evil.test:x.git",
      "evil.test/x.git",
    ])
      assert.equal(named(url), "git://evil.test/x.git#v1", url);
    const attrs = { "git.fullurl": "https://a.test/x.git" };
    const convert = [rule("CONVERT", "git://a.test/*", {}, { identifier: "git://b.test/$1" })];
    assert.deepEqual(await evaluate(convert, "git://a.test/x.git", attrs), {
      identifier: "git://b.test/x.git",
      attrs: {},
    });
  });
});

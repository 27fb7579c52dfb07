import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { awsCredentials } from "../../bin/aws-credentials.ts";
import { parseCacheFrom, parseCacheTo } from "../../bin/cache-flags.ts";
import { nameOfLocation } from "../../bin/engine/cache-location.ts";
import type { AzureLocation, GhaLocation, S3Location } from "../../bin/engine/cache-location.ts";
import { openObjectCaches } from "../../bin/engine/object-caches.ts";
import { readConfig } from "../../bin/config.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { temporaryDir } from "../support/store.ts";

const s3 = (text: string, env: Record<string, string> = {}): S3Location =>
  parseCacheFrom(text, "/", env)?.at as S3Location;
const gha = (text: string, env: Record<string, string> = {}): GhaLocation =>
  parseCacheFrom(text, "/", env)?.at as GhaLocation;

describe("type=s3", () => {
  it("has BuildKit's attributes and defaults", () => {
    const { credentials, ...rest } = s3("type=s3,bucket=b,region=eu-west-1");
    assert.deepEqual(rest, {
      kind: "s3",
      bucket: "b",
      region: "eu-west-1",
      prefix: "",
      blobsPrefix: "blobs/",
      manifestsPrefix: "manifests/",
      names: ["buildkit"],
      endpoint: null,
      usePathStyle: false,
      uploadsAtOnce: 4,
      touchRefreshMs: 24 * 3_600_000,
    });
    assert.equal(credentials(), null);
    const all = s3(
      "type=s3,bucket=b,region=r,prefix=p/,blobs_prefix=x/,manifests_prefix=m/,name=one;two,endpoint_url=http://h:1,use_path_style=true,upload_parallelism=2,touch_refresh=1h,access_key_id=k,secret_access_key=s,session_token=t",
    );
    assert.deepEqual(all.names, ["one", "two"]);
    assert.equal(nameOfLocation(all), "s3://b/p/m/one");
    assert.equal(all.touchRefreshMs, 3_600_000);
    assert.deepEqual(all.credentials(), { accessKeyId: "k", secretAccessKey: "s", sessionToken: "t" });
    assert.doesNotMatch(JSON.stringify(all), /"s"|"t"/);
  });

  it("takes bucket, region and endpoint from the environment", () => {
    const env = { AWS_BUCKET: "b", AWS_REGION: "r", AWS_ENDPOINT_URL: "https://e.example" };
    const { bucket, region, endpoint } = s3("type=s3", env);
    assert.deepEqual([bucket, region, endpoint], ["b", "r", "https://e.example"]);
    assert.equal(s3("type=s3,bucket=b,endpoint_url=http://h").region, "us-east-1");
  });

  for (const [text, message] of [
    ["type=s3", /requires bucket=NAME/],
    ["type=s3,bucket=b", /requires region=NAME/],
    ["type=s3,bucket=b/../c,region=r", /not a valid bucket name/],
    ["type=s3,bucket=b,endpoint_url=ftp://h", /not an http or https URL/],
    ["type=s3,bucket=b,region=r,access_key_id=k", /must be used together/],
    ["type=s3,bucket=b,region=r,upload_parallelism=0", /at least 1/],
    ["type=s3,bucket=b,region=r,touch_refresh=soon", /not a duration/],
    ["type=s3,bucket=b,region=r,color=red", /unknown attribute "color"/],
  ] as const) {
    it(`refuses ${text}`, () => {
      assert.throws(() => parseCacheFrom(text, "/", {}), { code: "USAGE", message });
    });
  }
});

describe("type=azblob", () => {
  const azure = (text: string, env: Record<string, string> = {}): AzureLocation =>
    parseCacheFrom(text, "/", env)?.at as AzureLocation;
  const URL_OF = "account_url=https://acc.blob.core.windows.net";

  it("has BuildKit's attributes, defaults and variables", () => {
    const { key, sas, ...rest } = azure(`type=azblob,${URL_OF},secret_access_key=a2V5`);
    assert.deepEqual(rest, {
      kind: "azblob",
      account: "https://acc.blob.core.windows.net/",
      accountName: "acc",
      container: "buildkit-cache",
      prefix: "",
      blobsPrefix: "blobs",
      manifestsPrefix: "manifests",
      names: ["buildkit"],
      uploadsAtOnce: 4,
    });
    assert.deepEqual([key(), sas()], ["a2V5", ""]);
    const all = azure("type=azblob,name=one;two,prefix=p", {
      BUILDKIT_AZURE_STORAGE_ACCOUNT_URL: "http://h:1/?sv=1&sig=s",
      BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME: "named",
      BUILDKIT_AZURE_STORAGE_CONTAINER: "c",
      BUILDKIT_AZURE_STORAGE_PREFIX: "other",
    });
    assert.deepEqual(
      [all.account, all.accountName, all.container, all.prefix, all.names, all.key(), all.sas()],
      ["http://h:1/", "named", "c", "p", ["one", "two"], null, "?sv=1&sig=s"],
    );
    assert.doesNotMatch(JSON.stringify(all) + nameOfLocation(all), /sig=/);
  });

  for (const [text, message] of [
    ["type=azblob", /requires account_url=URL/],
    ["type=azblob,account_url=ftp://h", /not an http or https URL/],
    [`type=azblob,${URL_OF}`, /requires secret_access_key=KEY/],
    [`type=azblob,${URL_OF},secret_access_key=a-b`, /secret_access_key is not base64/],
    [`type=azblob,${URL_OF},secret_access_key=a2V5,prefix=../x`, /cannot contain/],
    [`type=azblob,${URL_OF},secret_access_key=a2V5,container=a/b`, /not a valid name/],
    ["type=azblob,account_url=https://a.test/?sig=hidden,color=red", /sig=xxxxx.*unknown attribute "color"/],
  ] as const) {
    it(`refuses ${text}`, () => {
      assert.throws(
        () => parseCacheFrom(text, "/", {}),
        (error: Error) => {
          assert.match(error.message, message);
          assert.doesNotMatch(error.message, /a2V5|hidden|a-b/);
          return true;
        },
      );
    });
  }
});

describe("type=gha", () => {
  const v1 = { ACTIONS_CACHE_URL: "https://cache.example/x", ACTIONS_RUNTIME_TOKEN: "t" };
  const v2 = { ACTIONS_CACHE_SERVICE_V2: "True", ACTIONS_RESULTS_URL: "https://results.example/" };
  const serviceOf = ({ service }: GhaLocation): unknown =>
    service === null ? null : [service.version, service.url, service.token()];

  it("takes service and token as buildx does", () => {
    assert.equal(serviceOf(gha("type=gha")), null);
    assert.deepEqual(serviceOf(gha("type=gha", v1)), [1, "https://cache.example/x", "t"]);
    assert.deepEqual(serviceOf(gha("type=gha", { ...v1, ...v2 })), [2, "https://results.example/", "t"]);
    assert.deepEqual(serviceOf(gha("type=gha,version=1", { ...v1, ...v2 })), [
      1,
      "https://cache.example/x",
      "t",
    ]);
    assert.deepEqual(serviceOf(gha("type=gha,url_v2=https://own.example,token=o", v1)), [
      2,
      "https://own.example",
      "o",
    ]);
    const url = "https://results-receiver.actions.githubusercontent.com/";
    assert.deepEqual(serviceOf(gha(`type=gha,url=${url},token=o`)), [2, url, "o"]);
  });

  it("has a scope, a time limit and GitHub's API", () => {
    const { scope, timeoutMs, listing } = gha("type=gha");
    assert.deepEqual([scope, timeoutMs, listing], ["buildkit", 600_000, null]);
    const own = gha("type=gha,scope=app,timeout=30s,repository=o/n,ghtoken=g");
    assert.deepEqual([own.scope, own.timeoutMs, own.listing?.repository], ["app", 30_000, "o/n"]);
    assert.equal(nameOfLocation(own), "gha:app");
  });

  it("is an error outside of GitHub Actions for --cache-to alone, and there only without ignore-error", () => {
    assert.throws(() => parseCacheTo("type=gha", "/", {}), {
      code: "USAGE",
      message: /only works in GitHub Actions/,
    });
    assert.equal(parseCacheTo("type=gha,ignore-error=true", "/", {}).kind, "place");
    assert.equal(parseCacheTo("type=gha,mode=max", "/", v1).kind, "place");
  });

  for (const text of ["scope=a,b", "version=3", "url=nonsense", "repository=../x", "timeout=x"]) {
    it(`refuses ${text}`, () => {
      assert.throws(() => parseCacheFrom(`type=gha,${text}`, "/", v1), { code: "USAGE" });
    });
  }

  it("gives the token of the environment to no other service that a layer was on", async () => {
    using caches = openObjectCaches(
      readConfig({ root: "/", debug: false, verbose: false }, { ...v1, ...v2 }, "/"),
    );
    const { signal } = new AbortController();
    const descriptor = { mediaType: "", digest: digestOf(""), size: 1 };
    const read = caches.elsewhere("gha:2:https://evil.example/", descriptor, { signal });
    await assert.rejects(async () => {
      for await (const _ of read ?? []) assert.fail();
    }, /only the job that imported it can read/);
    assert.equal(caches.elsewhere("docker.io/library/busybox", descriptor, { signal }), null);
  });
});

describe("secrets in attributes", () => {
  it("are in no message", () => {
    const text =
      "type=gha,token=tttt,ghtoken=gggg,secret_access_key=ssss,access_key_id=aaaa,SESSION_TOKEN=eeee,color=red";
    assert.throws(
      () => parseCacheTo(text, "/", {}),
      ({ message }: Error) => !/tttt|gggg|ssss|aaaa|eeee/.test(message) && /token=xxxxx/.test(message),
    );
  });
});

describe("keys for S3", () => {
  it("come from the environment, else from the shared file, by profile", () => {
    using dir = temporaryDir();
    mkdirSync(dir.at(".aws"));
    writeFileSync(
      dir.at(".aws", "credentials"),
      "[default]\naws_access_key_id = d\naws_secret_access_key = ds\n# more\n[ci]\naws_access_key_id=c\naws_secret_access_key=cs==\naws_session_token=ct\n",
    );
    const home = { HOME: dir.path };
    assert.deepEqual(awsCredentials(home, dir.path, "x"), {
      accessKeyId: "d",
      secretAccessKey: "ds",
      sessionToken: null,
    });
    assert.deepEqual(awsCredentials({ ...home, AWS_PROFILE: "ci" }, dir.path, "x"), {
      accessKeyId: "c",
      secretAccessKey: "cs==",
      sessionToken: "ct",
    });
    const env = { ...home, AWS_ACCESS_KEY_ID: "e", AWS_SECRET_ACCESS_KEY: "es" };
    assert.equal(awsCredentials(env, dir.path, "x").accessKeyId, "e");
    assert.throws(() => awsCredentials({ ...home, AWS_PROFILE: "none" }, dir.path, "s3://b"), {
      code: "REGISTRY_DENIED",
      message: /^s3:\/\/b: no keys for S3/,
    });
  });
});

describe("layers of a cache", () => {
  const to = (attributes: string): unknown => parseCacheTo(`type=local,dest=d,${attributes}`, "/", {});

  it("have a level that there is", () => {
    assert.throws(
      () => to("compression=estargz,compression-level=10"),
      /: compression-level=10 is not between 0 and 9/,
    );
    assert.throws(
      () => to("compression=zstd,compression-level=0"),
      /is not between 1 and 22, the levels of zstd$/,
    );
  });

  it("have a compression that a typo is told of", () =>
    assert.throws(() => to("compression=zstd-chunked"), { hint: "did you mean zstd:chunked?" }));
});

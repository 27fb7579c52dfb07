// type=s3, type=azblob and type=gha of --cache-from and --cache-to, with the environment variables that BuildKit and buildx use.
// https://docs.docker.com/build/cache/backends/s3/, https://docs.docker.com/build/cache/backends/gha/
//
// Secrets are passed as functions, so that no printed or stored request contains them.

import type { Attributes } from "./cache-attributes.ts";
import type { AzureLocation, GhaLocation, S3Location } from "./engine/cache-location.ts";
import type { Environment } from "./engine/config.ts";
import { parseDuration } from "./format.ts";

const TOUCH_REFRESH = "24h";
const GHA_TIMEOUT = "10m";
const RESULTS_HOST = "results-receiver.actions.githubusercontent.com";

/** Takes the attributes of type=s3. Throws USAGE. */
export function readS3(attributes: Attributes, env: Environment): S3Location {
  const bucket = attributes.take("bucket") || env.AWS_BUCKET;
  if (!bucket) throw attributes.wrong("type=s3 requires bucket=NAME", "or set AWS_BUCKET");
  if (/[/?#\s]/.test(bucket)) throw attributes.wrong(`bucket=${bucket} is not a valid bucket name`);
  const endpoint = attributes.take("endpoint_url") || env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || null;
  if (endpoint !== null) checkUrl(endpoint, "endpoint_url", attributes);
  const region =
    attributes.take("region") ||
    env.AWS_REGION ||
    env.AWS_DEFAULT_REGION ||
    (endpoint === null ? null : "us-east-1");
  if (region === null) throw attributes.wrong("type=s3 requires region=NAME", "or set AWS_REGION");
  if (!/^[\w-]+$/.test(region)) throw attributes.wrong(`region=${region} is not a valid region`);
  const names = (attributes.take("name") || "buildkit").split(";").filter((name) => name !== "");
  const uploadsAtOnce = attributes.integer("upload_parallelism") ?? 4;
  if (uploadsAtOnce < 1) throw attributes.wrong("upload_parallelism must be at least 1");
  const accessKeyId = attributes.take("access_key_id");
  const secretAccessKey = attributes.take("secret_access_key");
  const sessionToken = attributes.take("session_token");
  if ((accessKeyId === null) !== (secretAccessKey === null))
    throw attributes.wrong("access_key_id and secret_access_key must be used together");
  return {
    kind: "s3",
    bucket,
    region,
    prefix: attributes.take("prefix") ?? "",
    blobsPrefix: attributes.take("blobs_prefix") ?? "blobs/",
    manifestsPrefix: attributes.take("manifests_prefix") ?? "manifests/",
    names: names.length === 0 ? ["buildkit"] : names,
    endpoint,
    usePathStyle: attributes.boolean("use_path_style") ?? false,
    uploadsAtOnce,
    touchRefreshMs: duration(attributes, "touch_refresh", TOUCH_REFRESH),
    credentials: () =>
      accessKeyId === null || secretAccessKey === null
        ? null
        : { accessKeyId, secretAccessKey, sessionToken: sessionToken || null },
  };
}

/** Takes the attributes of type=azblob. Throws USAGE. */
export function readAzure(attributes: Attributes, env: Environment): AzureLocation {
  const text = attributes.take("account_url") || env.BUILDKIT_AZURE_STORAGE_ACCOUNT_URL;
  if (!text)
    throw attributes.wrong(
      "type=azblob requires account_url=URL",
      "or set BUILDKIT_AZURE_STORAGE_ACCOUNT_URL",
    );
  const account = URL.canParse(text) ? new URL(text) : null;
  if (account === null || !/^https?:$/.test(account.protocol) || account.username !== "")
    throw attributes.wrong("account_url is not an http or https URL");
  const sas = account.search;
  account.search = account.hash = "";
  const accountName =
    attributes.take("account_name") ||
    env.BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME ||
    (account.hostname.split(".", 1)[0] ?? "");
  if (!/^[\w-]+$/.test(accountName)) throw attributes.wrong(`account_name=${accountName} is not valid`);
  const container = attributes.take("container") || env.BUILDKIT_AZURE_STORAGE_CONTAINER || "buildkit-cache";
  if (!/^[\w$-]+$/.test(container)) throw attributes.wrong(`container=${container} is not a valid name`);
  const prefix = attributes.take("prefix") ?? env.BUILDKIT_AZURE_STORAGE_PREFIX ?? "";
  const blobsPrefix = attributes.take("blobs_prefix") ?? "blobs";
  const manifestsPrefix = attributes.take("manifests_prefix") ?? "manifests";
  if ([prefix, blobsPrefix, manifestsPrefix].some((one) => one.split("/").includes("..")))
    throw attributes.wrong('a prefix cannot contain ".."');
  const names = (attributes.take("name") || "buildkit").split(";").filter((name) => name !== "");
  const key = attributes.take("secret_access_key") || null;
  if (key !== null && !/^[A-Za-z0-9+/]+={0,2}$/.test(key))
    throw attributes.wrong("secret_access_key is not base64");
  if (key === null && sas === "")
    throw attributes.wrong(
      "type=azblob requires secret_access_key=KEY",
      "or an account_url with a shared access signature",
    );
  return {
    kind: "azblob",
    ...{ account: account.href, accountName, container, prefix, blobsPrefix, manifestsPrefix },
    names: names.length === 0 ? ["buildkit"] : names,
    uploadsAtOnce: AZURE_UPLOADS_AT_ONCE,
    sas: () => sas,
    key: () => key,
  };
}
/** As BuildKit sends blocks. */
const AZURE_UPLOADS_AT_ONCE = 4;

/** Takes the attributes of type=gha. Throws USAGE; a missing service or token is no error yet: see `withoutService`. */
export function readGha(attributes: Attributes, env: Environment): GhaLocation {
  const scope = attributes.take("scope") || "buildkit";
  // Keys are lists in version 1, and cut off at 512 characters by the service.
  if (/[,\s]/.test(scope) || scope.length > 400)
    throw attributes.wrong(`scope=${scope} is not a valid scope name`);
  const version =
    attributes.choice("version", ["1", "2"]) ??
    (/^(?:1|t|true)$/i.test(env.ACTIONS_CACHE_SERVICE_V2 ?? "") ? "2" : null);
  const urlV1 = attributes.take("url") || env.ACTIONS_CACHE_URL || env.ACTIONS_RESULTS_URL || null;
  const givenV2 = attributes.take("url_v2");
  const isV2 =
    version === "2" ||
    (version === null &&
      (!!givenV2 || (urlV1 !== null && URL.canParse(urlV1) && new URL(urlV1).host === RESULTS_HOST)));
  const url = isV2 ? givenV2 || env.ACTIONS_RESULTS_URL || urlV1 : urlV1;
  if (url !== null) checkUrl(url, isV2 ? "url_v2" : "url", attributes);
  const token = attributes.take("token") || env.ACTIONS_RUNTIME_TOKEN || null;
  const repository = attributes.take("repository") || null;
  const ghToken = attributes.take("ghtoken") || null;
  if (repository !== null && !/^[\w-]+\/(?!\.{1,2}$)[\w.-]+$/.test(repository))
    throw attributes.wrong(`repository=${repository} is not OWNER/NAME`);
  return {
    kind: "gha",
    scope,
    service: url === null || token === null ? null : { version: isV2 ? 2 : 1, url, token: () => token },
    timeoutMs: duration(attributes, "timeout", GHA_TIMEOUT),
    listing:
      repository === null || ghToken === null
        ? null
        : { repository, url: env.GITHUB_API_URL || "https://api.github.com", token: () => ghToken },
  };
}

function duration(attributes: Attributes, name: string, initial: string): number {
  const text = attributes.take(name) || initial;
  try {
    return parseDuration(text);
  } catch {
    throw attributes.wrong(`${name}=${text} is not a duration`, "use a duration like 24h or 10m");
  }
}

function checkUrl(text: string, name: string, attributes: Attributes): void {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.search !== "")
    throw attributes.wrong(`${name} is not an http or https URL`);
}

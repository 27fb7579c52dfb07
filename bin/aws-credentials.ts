// S3 credentials, found as AWS tools do: in the environment, else in the shared credentials file.
// https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html

import { join } from "node:path";
import { readFileOf } from "../cache/outside.ts";
import type { S3Credentials } from "../cache/remote-cache/s3-calls.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Environment } from "./engine/config.ts";

const FILE_MAX_BYTES = 1 << 20;

/** Throws REGISTRY_DENIED when there are none. `name`: what they are for. */
export function awsCredentials(env: Environment, home: string, name: string): S3Credentials {
  const found =
    complete(env.AWS_ACCESS_KEY_ID, env.AWS_SECRET_ACCESS_KEY, env.AWS_SESSION_TOKEN) ?? fromFile(env, home);
  if (found !== null) return found;
  throw new BuildError("REGISTRY_DENIED", `${name}: no keys for S3`, {
    hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, give access_key_id= and secret_access_key=, or fill ~/.aws/credentials",
  });
}

function fromFile(env: Environment, home: string): S3Credentials | null {
  const file = env.AWS_SHARED_CREDENTIALS_FILE || join(home, ".aws", "credentials");
  let text: string;
  try {
    text = readFileOf(file, FILE_MAX_BYTES).toString("utf8");
  } catch {
    return null; // the file is optional; what is missing then is said by the caller
  }
  const wanted = env.AWS_PROFILE || "default";
  const values = new Map<string, string>();
  let profile = "";
  for (const line of text.split(/\r?\n/)) {
    const section = /^\s*\[\s*(.+?)\s*\]/.exec(line)?.[1];
    if (section !== undefined) profile = section;
    const [, name, value] = /^\s*([\w]+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (profile === wanted && name !== undefined && value !== undefined)
      values.set(name.toLowerCase(), value);
  }
  return complete(
    values.get("aws_access_key_id"),
    values.get("aws_secret_access_key"),
    values.get("aws_session_token"),
  );
}

function complete(
  accessKeyId: string | undefined,
  secretAccessKey: string | undefined,
  sessionToken: string | undefined,
): S3Credentials | null {
  return accessKeyId && secretAccessKey
    ? { accessKeyId, secretAccessKey, sessionToken: sessionToken || null }
    : null;
}

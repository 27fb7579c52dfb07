// Git repositories over HTTP: git-http-backend(1), called by CGI (RFC 3875) from a test's own server.

import { execFileSync, spawn } from "node:child_process";
import type { ServerResponse } from "node:http";
import { needs } from "./needs.ts";
import type { Request } from "./registry.ts";

/** Answers a request for a repository below `root`. */
export async function serveGit(root: string, request: Request, response: ServerResponse): Promise<void> {
  const { pathname, search } = new URL(request.url, "http://localhost");
  const child = spawn(needs("git"), ["http-backend"], {
    stdio: ["pipe", "pipe", "ignore"],
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: "1",
      REQUEST_METHOD: request.method,
      PATH_INFO: pathname,
      QUERY_STRING: search.slice(1),
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      CONTENT_LENGTH: `${request.body.length}`,
      HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
      GIT_PROTOCOL: request.headers["git-protocol"]?.toString() ?? "",
    },
  });
  // It ends without having read what it has no use for: what it says of that is in its answer.
  child.stdin.on("error", () => {});
  child.stdin.end(request.body);
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk as Buffer);
  const answer = Buffer.concat(chunks);
  const end = answer.indexOf("\r\n\r\n");
  for (const line of answer.toString("latin1", 0, end).split("\r\n")) {
    const [name = "", value = ""] = line.split(/: */, 2);
    if (name.toLowerCase() === "status") response.statusCode = Number.parseInt(value, 10);
    else response.setHeader(name, value);
  }
  response.end(answer.subarray(end + 4));
}

/** Makes a bare repository of all that is in `tree`, on the branch main. */
export function makeRepository(tree: string, bare: string): void {
  const git = (...args: string[]): void => {
    const own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*"];
    execFileSync(needs("git"), [...own, ...args], { stdio: ["ignore", "ignore", "pipe"] });
  };
  git("init", "-q", "-b", "main", "--bare", bare);
  // With a work tree elsewhere nothing is written into the tree.
  const at = [`--git-dir=${bare}`, `--work-tree=${tree}`];
  git(...at, "-c", "core.bare=false", "add", "--all", "--force", ".");
  git(...at, "-c", "core.bare=false", "commit", "-q", "--allow-empty", "-m", "one");
}

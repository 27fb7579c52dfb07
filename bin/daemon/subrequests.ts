// Questions about a Dockerfile that clients may ask instead of building it, and what they may expect of the frontend beforehand.

import type { CallRequest } from "../engine/request.ts";
import { printable } from "../../solver/graph/error.ts";
import { CODE, RpcError } from "../wire/status.ts";
import type { Attributes } from "./attributes.ts";
import { detail } from "./errors.ts";

const DESCRIBE = "frontend.subrequests.describe";

interface Subrequest {
  readonly call: CallRequest["name"] | null; // null: it is about the frontend itself
  readonly description: string;
  readonly options: readonly { readonly name: string; readonly description: string }[];
  readonly hasStatus: boolean;
}

const SUBREQUESTS: ReadonlyMap<string, Subrequest> = new Map([
  [
    "frontend.outline",
    {
      call: "outline",
      description: "Arguments, secrets and agents that the target takes",
      options: [{ name: "target", description: "Stage to look at" }],
      hasStatus: false,
    },
  ],
  [
    "frontend.targets",
    { call: "targets", description: "Stages that can be built", options: [], hasStatus: false },
  ],
  ["frontend.lint", { call: "check", description: "Build checks", options: [], hasStatus: true }],
  [DESCRIBE, { call: null, description: "These requests", options: [], hasStatus: false }],
]);

/** Capabilities of the frontend: those of dockerfile.v0. */
const CAPS: ReadonlySet<string> = new Set(
  ["inputs", "subrequests", "contexts", "gitquerystring"].map((name) => `moby.buildkit.frontend.${name}`),
);

/** The call of the engine behind `requestid`; none: a build. Throws RpcError for a request that is not known: clients then try another frontend. */
export function callOf({ requestid: id = "" }: Attributes): CallRequest {
  if (id === "") return { name: "build", format: "text", ignoreStatus: false };
  const name = SUBREQUESTS.get(id)?.call ?? null;
  if (name === null) throw unknown("Subrequest", `subrequest ${printable(id)}`, id);
  return { name, format: "json", ignoreStatus: false };
}

/** Checks what the client needs of the frontend. Throws RpcError. */
export function checkCaps({ "frontend.caps": caps = "" }: Attributes): void {
  for (const cap of caps.split(",")) {
    const [name = "", more = ""] = cap.split("+");
    // "+forward": for a frontend image to decide.
    if (name === "" || CAPS.has(name) || more === "forward") continue;
    throw unknown("FrontendCap", `frontend capability ${printable(name)}`, name);
  }
}

/** The answer of a question about the frontend itself; null: it is another one. */
export function describeSubrequests({ requestid: id }: Attributes): Map<string, Uint8Array> | null {
  if (id !== DESCRIBE) return null;
  const requests = [...SUBREQUESTS].map(([name, { description, options, hasStatus }]) => ({
    name,
    version: VERSION,
    type: "rpc",
    description,
    opts: options,
    inputs: [],
    metadata: ["result.json", "result.txt", ...(hasStatus ? ["result.statuscode"] : [])].map((key) => ({
      name: key,
      description: "",
    })),
    refs: [],
  }));
  const lines = requests.map(({ name, version, description }) =>
    [name.replace(/^frontend\./, "").padEnd(21), version, description].join(" "),
  );
  return new Map([
    ["result.json", Buffer.from(JSON.stringify(requests))],
    ["result.txt", Buffer.from(`${lines.join("\n")}\n`)],
    ["version", Buffer.from(VERSION)],
  ]);
}

/** Of every request and its answer. */
export const VERSION = "1.0.0";

function unknown(type: string, what: string, name: string): RpcError {
  return new RpcError(CODE.UNIMPLEMENTED, `unsupported ${what}`, [detail(type, { name })]);
}

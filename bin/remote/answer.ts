// Answers of --call from a builder: the JSON of dockerfile.v0's subrequests as typed answers, which are printed like those of this machine.

import type { CallAnswer, CallRequest, SourceText } from "../engine/request.ts";
import type { CheckWarning, Outline, Target } from "../../frontend/contract.ts";
import { BuildError, type SourceRange } from "../../solver/graph/error.ts";
import { rangeOf } from "./progress.ts";

type Json = Readonly<Record<string, unknown>>;

/** The name of the subrequest. */
export function requestId(name: CallRequest["name"]): string {
  return name === "check" ? "frontend.lint" : `frontend.${name}`;
}

/** Reads result.json. Throws SOURCE_FAILED for what is none. */
export function callAnswer(name: CallRequest["name"], bytes: Uint8Array | undefined): CallAnswer {
  let json: Json;
  try {
    json = objectOf(JSON.parse(Buffer.from(bytes ?? new Uint8Array(0)).toString("utf8")));
  } catch (cause) {
    throw new BuildError("SOURCE_FAILED", `the builder has no answer to --call=${name}`, { cause });
  }
  switch (name) {
    case "check": {
      const source = sourceOf(listOf(json["sources"])[0]);
      const warnings = listOf(json["warnings"]).map((one) => warningOf(objectOf(one), source.file));
      return { kind: "check", result: { warnings, error: errorOf(json["buildError"], source.file), source } };
    }
    case "outline":
      return { kind: "outline", outline: outlineOf(json), source: plainSource(json) };
    case "targets":
      return {
        kind: "targets",
        targets: listOf(json["targets"]).map((one) => targetOf(objectOf(one))),
        source: plainSource(json),
      };
    case "build":
      throw new Error("a build is no call");
  }
}

function warningOf(json: Json, file: string): CheckWarning {
  return {
    rule: text(json["ruleName"]),
    description: text(json["description"]),
    url: text(json["url"]),
    detail: text(json["detail"]),
    at: locationOf(json, file),
  };
}

function errorOf(value: unknown, file: string): Error | null {
  if (value === undefined || value === null) return null;
  const json = objectOf(value);
  const isPlaced = listOf(objectOf(json["location"])["ranges"]).length > 0;
  return new BuildError("DOCKERFILE_SYNTAX", text(json["message"]), {
    at: isPlaced ? locationOf(json, file) : null,
  });
}

function outlineOf(json: Json): Outline {
  const required = (value: unknown): Outline["secrets"][number] => {
    const one = objectOf(value);
    return { name: text(one["name"]), required: one["required"] === true, at: locationOf(one, "Dockerfile") };
  };
  return {
    name: text(json["name"]),
    description: text(json["description"]),
    args: listOf(json["args"]).map((value) => {
      const one = objectOf(value);
      return {
        name: text(one["name"]),
        value: text(one["value"]),
        description: text(one["description"]),
        at: locationOf(one, "Dockerfile"),
      };
    }),
    secrets: listOf(json["secrets"]).map(required),
    ssh: listOf(json["ssh"]).map(required),
  };
}

function targetOf(json: Json): Target {
  return {
    name: text(json["name"]),
    description: text(json["description"]),
    default: json["default"] === true,
    base: text(json["base"]),
    platform: text(json["platform"]),
    at: locationOf(json, "Dockerfile"),
  };
}

function sourceOf(value: unknown): SourceText {
  const json = objectOf(value);
  return { file: text(json["filename"]) || "Dockerfile", text: decoded(json["data"]) };
}

function plainSource(json: Json): SourceText {
  return { file: "Dockerfile", text: decoded(listOf(json["sources"])[0]) };
}

function decoded(value: unknown): string {
  return Buffer.from(text(value), "base64").toString("utf8");
}

function locationOf(json: Json, file: string): SourceRange {
  const lines = listOf(objectOf(json["location"])["ranges"]).map((value) => {
    const range = objectOf(value);
    const first = Number(objectOf(range["start"])["line"] ?? 0);
    return [first, Number(objectOf(range["end"])["line"] ?? first)] as const;
  });
  if (lines.length === 0) return rangeOf(file, 0, 0);
  const first = Math.min(...lines.map(([line]) => line));
  return rangeOf(file, first, Math.max(...lines.map(([, line]) => line)));
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function objectOf(value: unknown): Json {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

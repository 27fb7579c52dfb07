// What the arguments of diff and verify mean.

import { resolve } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import type { Subject } from "./engine/compare/contract.ts";

/** "oci-layout://PATH[:TAG|@DIGEST]" or "oci:PATH[:TAG]", "docker://NAME" (in a registry), "local:NAME" (in the store), an archive as
 *  "oci-archive:FILE" or "docker-archive:FILE", a path that begins with "/", "./" or "../", else an image of the store
 *  or a registry. Throws USAGE. */
export function parseSubject(text: string, cwd: string): Subject {
  const [, short, place = ""] = /^(local|oci|oci-archive|docker-archive):(?!\/\/)(.*)$/s.exec(text) ?? [];
  if (short === "oci") return { ...parseSubject(`oci-layout://${place}`, cwd), shown: text };
  if (short !== undefined && place !== "")
    return short === "local"
      ? { kind: "image", shown: text, reference: place, from: "store" }
      : { kind: "path", shown: text, path: resolve(cwd, place) };
  const [, scheme, rest = ""] = /^([a-z][a-z-]*):\/\/(.*)$/s.exec(text) ?? [];
  switch (scheme) {
    case undefined:
      break;
    case "oci-layout": {
      const [, path = "", name] = /^(.*?)(?:@(sha256:[a-f0-9]{64})|:([\w][\w.-]*))?$/s.exec(rest) ?? [];
      const tag = name ?? /:([\w][\w.-]*)$/.exec(rest)?.[1] ?? null;
      if (path === "") break;
      return { kind: "layout", shown: text, path: resolve(cwd, path), name: tag };
    }
    case "docker":
    case "docker-image":
      if (rest === "") break;
      return { kind: "image", shown: text, reference: rest, from: "registry" };
    default:
      throw new BuildError("USAGE", `${text}: ${scheme}:// is not known here`, {
        hint: "use oci-layout://PATH, docker://NAME, a path that begins with / or ./, or the name of an image",
      });
  }
  if (text === "") throw new BuildError("USAGE", "the name of an image, or a path, is empty");
  if (/^(?:\/|\.\.?(?:\/|$))/.test(text)) return { kind: "path", shown: text, path: resolve(cwd, text) };
  return { kind: "image", shown: text, reference: text, from: "any" };
}

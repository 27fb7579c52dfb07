import { equal } from "node:assert/strict";
import { redactUrl } from "../../solver/graph/error.ts";

describe("credentials in a text", () => {
  const shown: Readonly<Record<string, string>> = {
    "get https://user:word@host/a": "get https://xxxxx:xxxxx@host/a",
    "ssh://git@host/a": "ssh://xxxxx@host/a",
    "HTTP://user:word@host/f": "HTTP://xxxxx:xxxxx@host/f",
    "no file http:/user:word@host/f": "no file http:/xxxxx:xxxxx@host/f",
    "https://host/f?token=abc&x=1": "https://host/f?token=xxxxx&x=1",
    "https://host/f?sig=a:b: not found (https://host/g?key=k).":
      "https://host/f?sig=xxxxx: not found (https://host/g?key=xxxxx).",
    "https://host/a@b:c": "https://host/a@b:c",
    "/src:/dst@1 and /a:/b": "/src:/dst@1 and /a:/b",
    [`oci-layout://name:tag@sha256:${"0a".repeat(32)}`]: `oci-layout://name:tag@sha256:${"0a".repeat(32)}`,
    [`https://user:word@sha256:${"0a".repeat(32)}.host/`]: `https://xxxxx:xxxxx@sha256:${"0a".repeat(32)}.host/`,
    [`https://user:wo@sha256:${"0a".repeat(32)}@host/`]: "https://xxxxx:xxxxx@host/",
    "name:tag@sha256:0123": "name:tag@sha256:0123",
  };
  for (const [text, said] of Object.entries(shown)) it(text, () => equal(redactUrl(text), said));
});

// A small registry in memory that lists referrers by itself, as the distribution spec 1.1 has it; Debian's docker-registry 2.8 does not.

import { createHash } from "node:crypto";
import { type MisbehavingServer, startServer } from "./registry.ts";

export interface Oci11Registry extends MisbehavingServer {
  /** Manifests by "REPOSITORY/NAME", a tag or digest. */
  readonly manifests: ReadonlyMap<string, Buffer>;
}

interface Stored {
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** `pageSize`: entries of a page of the list of referrers. */
export async function startOci11Registry(pageSize = 2): Promise<Oci11Registry> {
  const blobs = new Map<string, Buffer>();
  const documents = new Map<string, Stored>();
  const manifests = new Map<string, Buffer>();
  const digestOf = (bytes: Buffer): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

  const server = await startServer(({ method, url, headers, body }, response) => {
    const { pathname, searchParams } = new URL(url, "http://localhost");
    const [, repository = "", kind = "", name = ""] =
      /^\/v2\/(.+)\/(blobs|manifests|referrers)\/(.*)$/.exec(pathname) ?? [];
    const send = (
      status: number,
      more: Record<string, string> = {},
      bytes: Buffer = Buffer.alloc(0),
    ): void => {
      response.writeHead(status, { "content-length": String(bytes.length), ...more });
      response.end(method === "HEAD" ? undefined : bytes);
    };
    if (kind === "") return send(pathname === "/v2/" ? 200 : 404);
    if (kind === "blobs") {
      if (method === "POST") return send(202, { location: `/v2/${repository}/blobs/uploads/1` });
      if (method === "PUT") {
        const digest = searchParams.get("digest") ?? "";
        if (digestOf(body) !== digest) return send(400);
        blobs.set(digest, body);
        return send(201, { "docker-content-digest": digest });
      }
      const blob = blobs.get(name);
      return blob === undefined ? send(404) : send(200, { "docker-content-digest": name }, blob);
    }
    if (kind === "referrers") {
      const all = [...documents].flatMap(([digest, { mediaType, bytes }]) => {
        const { subject, artifactType, annotations } = JSON.parse(bytes.toString()) as {
          readonly subject?: { readonly digest: string };
          readonly artifactType?: string;
          readonly annotations?: object;
        };
        return subject?.digest === name
          ? [{ mediaType, digest, size: bytes.length, artifactType, annotations }]
          : [];
      });
      const from = Number(searchParams.get("from") ?? 0);
      const list = { schemaVersion: 2, mediaType: INDEX, manifests: all.slice(from, from + pageSize) };
      const next = from + pageSize;
      const link =
        next < all.length ? { link: `</v2/${repository}/referrers/${name}?from=${next}>; rel="next"` } : {};
      return send(200, { "content-type": INDEX, ...link }, Buffer.from(JSON.stringify(list)));
    }
    if (method === "PUT") {
      const digest = digestOf(body);
      documents.set(digest, { mediaType: headers["content-type"] ?? "", bytes: body });
      manifests.set(`${repository}/${name}`, body);
      const { subject } = JSON.parse(body.toString()) as { readonly subject?: { readonly digest: string } };
      return send(201, {
        "docker-content-digest": digest,
        ...(subject === undefined ? {} : { "oci-subject": subject.digest }),
      });
    }
    const tagged = manifests.get(`${repository}/${name}`);
    const found = documents.get(tagged === undefined ? name : digestOf(tagged));
    if (found === undefined) return send(404);
    return send(
      200,
      { "content-type": found.mediaType, "docker-content-digest": digestOf(found.bytes) },
      found.bytes,
    );
  });
  return { ...server, manifests };
}
const INDEX = "application/vnd.oci.image.index.v1+json";

// Reads layers in zstd:chunked and eStargz as a lazy puller does, in Python and by the formats' documents: from the annotations to the
// table, and from there to each file by its range of bytes. Every digest is compared.

import { execFileSync } from "node:child_process";

/** One entry of a table: as in the JSON, without where its chunks are. */
export interface LazyEntry {
  readonly name: string;
  readonly type: string;
  readonly size?: number;
  readonly linkName?: string;
  readonly chunks?: number;
  readonly [field: string]: unknown;
}
export interface LazyLayer {
  readonly entries: readonly LazyEntry[];
  /** SHA-256 of all that decompressing the whole blob yields, and its length. */
  readonly sha256: string;
  readonly bytes: number;
}

/** Throws what does not hold, in the words of the script. */
export function readLazily(blob: string, annotations: Readonly<Record<string, string>>): LazyLayer {
  const output = execFileSync("python3", ["-c", SCRIPT, blob, JSON.stringify(annotations)], {
    maxBuffer: 64 << 20,
    stdio: ["ignore", "pipe", "pipe"],
  });
  return JSON.parse(output.toString()) as LazyLayer;
}

// containers/storage pkg/chunked, vbatts/tar-split tar/asm, stargz-snapshotter docs/estargz.md.
const SCRIPT = `
import base64, gzip, hashlib, io, json, posixpath, struct, subprocess, sys, tarfile, zlib
blob = open(sys.argv[1], "rb").read()
notes = json.loads(sys.argv[2])
sha = lambda data: "sha256:" + hashlib.sha256(data).hexdigest()
unzstd = lambda data: subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
def same(a, b, what):
    if a != b: sys.exit(f"{what}: {a!r} is not {b!r}")
def content_of(index, entries, unpack, end_of):
    """The bytes of entry n, chunk by chunk, each from its own range."""
    first = entries[index]
    if not first.get("size"): return b""
    chunks = [first]
    for entry in entries[index + 1:]:
        if entry["type"] != "chunk": break
        same(entry["name"], first["name"], "name of a chunk")
        chunks.append(entry)
    first["chunks"] = len(chunks)
    data = b""
    for at, chunk in enumerate(chunks):
        same(chunk.get("chunkOffset", 0), len(data), "place of a chunk in its file")
        end = chunks[at + 1]["offset"] if at + 1 < len(chunks) else end_of(chunk, first)
        size = chunk.get("chunkSize") or first["size"] - len(data)
        part = unpack(blob[chunk["offset"]:end], size)
        same(len(part), size, "size of a chunk of " + first["name"])
        if "chunkDigest" in chunk: same(sha(part), chunk["chunkDigest"], "digest of a chunk of " + first["name"])
        data += part
    same(len(data), first["size"], "size of " + first["name"])
    same(sha(data), first["digest"], "digest of " + first["name"])
    return data
def crc64(data):
    crc = 2**64 - 1
    for byte in data:
        crc ^= byte
        for _ in range(8): crc = crc >> 1 ^ (0xD800000000000000 if crc & 1 else 0)
    return (crc ^ 2**64 - 1).to_bytes(8, "big")
def as_in_tar(entries, tar):
    """Each entry that is no chunk says what the tar says."""
    members = tarfile.open(fileobj=io.BytesIO(tar)).getmembers()
    types = {b"0": "reg", b"1": "hardlink", b"2": "symlink", b"3": "char", b"4": "block", b"5": "dir", b"6": "fifo"}
    listed = [entry for entry in entries if entry["type"] != "chunk"]
    same(len(listed), len(members), "number of entries")
    for entry, member in zip(listed, members):
        same(entry["name"].rstrip("/"), member.name, "name")
        same(entry["type"], types[member.type], "type of " + member.name)
        same(entry.get("size", 0), member.size, "size of " + member.name)
        same(entry.get("mode", 0), member.mode, "mode of " + member.name)
        same((entry.get("uid", 0), entry.get("gid", 0)), (member.uid, member.gid), "owner of " + member.name)
        same(entry.get("linkName", ""), member.linkname, "link of " + member.name)
        xattrs = {k[13:]: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")}
        same(sorted(entry.get("xattrs", {})), sorted(xattrs), "attributes of " + member.name)
        same(time_of(entry.get("modtime")), round(member.mtime), "time of " + member.name)
def time_of(text):
    if text is None: return 0
    from datetime import datetime, timezone
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
prefix = "io.github.containers.zstd-chunked."
if prefix + "manifest-checksum" in notes:
    offset, length, plain_length, kind = map(int, notes[prefix + "manifest-position"].split(":"))
    split_at, split_length, split_plain = map(int, notes[prefix + "tarsplit-position"].split(":"))
    footer = blob[-64:]
    same(blob[-72:-64], struct.pack("<II", 0x184D2A50, 64), "frame of the footer")
    same(footer, struct.pack("<7Q", offset, length, plain_length, 1, split_at, split_length, split_plain) + b"GNUlInUx", "footer")
    same(kind, 1, "type of the table")
    for at, size in ((offset, length), (split_at, split_length)):
        same(blob[at - 8:at], struct.pack("<II", 0x184D2A50, size), "skippable frame")
    same(sha(blob[offset:offset + length]), notes[prefix + "manifest-checksum"], "checksum of the table")
    text = unzstd(blob[offset:offset + length])
    same(len(text), plain_length, "length of the table")
    table = json.loads(text)
    same(sha(blob[split_at:split_at + split_length]), table["tarSplitDigest"], "digest of tar-split")
    split = unzstd(blob[split_at:split_at + split_length])
    same(len(split), split_plain, "length of tar-split")
    whole = unzstd(blob)
    entries = table["entries"]
    unpack = lambda data, size: unzstd(data)
    contents = {e["name"]: content_of(i, entries, unpack, lambda chunk, first: first["endOffset"])
                for i, e in enumerate(entries) if e["type"] == "reg"}
    # The tar again, from tar-split and the files.
    tar = b""
    names = []
    for position, line in enumerate(split.splitlines()):
        item = json.loads(line)
        same(item["position"], position, "position in tar-split")
        if item["type"] == 2: tar += base64.b64decode(item["payload"])
        else:
            names.append(item["name"])
            if item.get("size"):
                same(item["size"], len(contents[item["name"]]), "size in tar-split")
                if item["size"] <= 20000: # bit by bit in Python
                    same(base64.b64decode(item["payload"]), crc64(contents[item["name"]]), "CRC of " + item["name"])
                tar += contents[item["name"]]
            else: same(item["payload"], None, "payload of " + item["name"])
    same(names, [e["name"] for e in entries if e["type"] != "chunk"], "names in tar-split")
    same(hashlib.sha256(tar).hexdigest(), hashlib.sha256(whole).hexdigest(), "tar made of tar-split")
else:
    footer = blob[-51:]
    same(footer[:16], bytes.fromhex("1f8b08040000000000ff1a0053471600"), "footer")
    same(footer[32:38], b"STARGZ", "magic of the footer")
    same(footer[38:], bytes.fromhex("010000ffff0000000000000000"), "end of the footer")
    offset = int(footer[16:32], 16)
    table_tar = gzip.decompress(blob[offset:-51])
    with tarfile.open(fileobj=io.BytesIO(table_tar)) as archive:
        same([member.name for member in archive], ["stargz.index.json"], "names in the tar of the table")
        text = archive.extractfile("stargz.index.json").read()
    same(sha(text), notes["containerd.io/snapshot/stargz/toc.digest"], "digest of the table")
    table = json.loads(text)
    whole = gzip.decompress(blob)
    same(str(len(whole)), notes["io.containers.estargz.uncompressed-size"], "size")
    entries = table["entries"]
    def unpack(data, size):
        """As much as is asked for of the member of gzip at the start."""
        return zlib.decompressobj(31).decompress(data, size)
    starts = sorted({e["offset"] for e in entries if "offset" in e}) + [offset]
    def end_of(chunk, first): return next(at for at in starts if at > chunk["offset"])
    for i, e in enumerate(entries):
        if e["type"] == "reg":
            content_of(i, entries, unpack, end_of)
            if not e.get("size"): same(e["digest"], sha(b""), "digest of an empty file")
            elif "chunkDigest" not in e: sys.exit("no chunkDigest of " + e["name"])
    same(whole[-len(table_tar):], table_tar, "end of what is compressed")
    tar = whole[:-len(table_tar)]
same(table["version"], 1, "version")
as_in_tar(entries, tar)
print(json.dumps({"entries": [e for e in entries if e["type"] != "chunk"], "sha256": sha(whole), "bytes": len(whole)}))
`;

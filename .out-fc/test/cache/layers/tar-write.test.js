import assert from "node:assert/strict";
import { TAR_HEADER_MAX_BYTES, writeHeader } from "../../../cache/layers/tar-write.js";
import { makeTar, run } from "./support.js";
/** What Python's tarfile sees: an implementation that shares nothing with ours. */
function listing(archive) {
    const script = `
import sys, io, tarfile
t = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), errors="surrogateescape")
for m in t:
    print(m.name, m.type.decode(), oct(m.mode), m.uid, m.gid, m.size, int(m.mtime), m.linkname, m.uname, m.devmajor,
          m.devminor, sorted(k for k in m.pax_headers if k.startswith("SCHILY")), sep="|")
`;
    return run("python3", ["-c", script], archive).toString().trimEnd().split("\n");
}
describe("tar writer", () => {
    it("writes members that other programs read back", () => {
        const long = `${"d".repeat(120)}/${"e".repeat(120)}/f`;
        const archive = makeTar([
            { name: "dir/", type: "dir", mode: 0o1777, uid: 1, gid: 2 },
            { name: "dir/f", mode: 0o4755, content: "data" },
            { name: long, content: "1" },
            { name: "ünï", content: "2" },
            { name: "link", type: "symlink", link: "x".repeat(150), mode: 0o777 },
            { name: "hard", type: "link", link: "dir/f" },
            { name: "null", type: "char", devMajor: 1, devMinor: 3 },
            { name: "big", uid: 4_000_000, gid: 5_000_000, mtimeSeconds: 1 },
            { name: "cap", xattrs: new Map([["security.capability", Buffer.from([1, 0, 0, 2])]]) },
        ]);
        assert.deepEqual(listing(archive), [
            "dir|5|0o1777|1|2|0|1500000000|||0|0|[]",
            "dir/f|0|0o4755|0|0|4|1500000000|||0|0|[]",
            `${long}|0|0o644|0|0|1|1500000000|||0|0|[]`,
            "ünï|0|0o644|0|0|1|1500000000|||0|0|[]",
            `link|2|0o777|0|0|0|1500000000|${"x".repeat(150)}||0|0|[]`,
            "hard|1|0o644|0|0|0|1500000000|dir/f||0|0|[]",
            "null|3|0o644|0|0|0|1500000000|||1|3|[]",
            "big|0|0o644|4000000|5000000|0|1|||0|0|[]",
            "cap|0|0o644|0|0|0|1500000000|||0|0|['SCHILY.xattr.security.capability']",
        ]);
        run("tar", ["-tf", "-"], archive);
    });
    it("splits a long ASCII name into ustar's two fields, as Go does", () => {
        const name = `${"d".repeat(60)}/${"e".repeat(60)}`;
        const archive = makeTar([{ name }]);
        assert.equal(archive.length, 512 + 1024, "no pax header");
        assert.equal(archive.toString("latin1", 0, 60), "e".repeat(60));
        assert.equal(archive.toString("latin1", 345, 405), "d".repeat(60));
    });
    it("writes the pax header Go writes", () => {
        const archive = makeTar([{ name: "dir/ü", uid: 3_000_000 }]);
        // "dir/PaxHeaders.0/ü" without what is not ASCII, then without slashes at the end.
        assert.equal(archive.toString("latin1", 0, 18), "dir/PaxHeaders.0\0\0");
        assert.equal(archive.toString("utf8", 512, 512 + 32), "15 path=dir/ü\n15 uid=3000000\n\0\0");
        // The field of the member has what is ASCII of the name, and zero for what does not fit.
        assert.equal(archive.toString("latin1", 1024, 1029), "dir/\0");
        assert.equal(archive.toString("latin1", 1024 + 108, 1024 + 116), "0000000\0");
    });
    it("writes sizes over 8 GiB", () => {
        const size = 9 * 2 ** 30;
        const script = "import sys,io,tarfile;print(tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read())).next().size)";
        const big = withSize(size);
        assert.equal(run("python3", ["-c", script], big).toString().trim(), String(size));
    });
});
function withSize(size) {
    const buffer = Buffer.alloc(TAR_HEADER_MAX_BYTES);
    const end = writeHeader(buffer, 0, {
        name: Buffer.from("f"),
        linkName: null,
        type: "file",
        mode: 0o644,
        uid: 0,
        gid: 0,
        size,
        mtimeSeconds: 0,
        devMajor: 0,
        devMinor: 0,
        xattrs: null,
    });
    return Buffer.from(buffer.subarray(0, end));
}
//# sourceMappingURL=tar-write.test.js.map
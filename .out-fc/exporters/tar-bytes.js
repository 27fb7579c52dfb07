// A tar of plain members as a stream of bytes, always the same for the same members. POSIX pax, "ustar Interchange Format".
// Not tar-stream: the writer of a layout needs forty lines, and a stream of chunks that are passed on as they are.
const BLOCK = 512;
const USTAR_MAX_BYTES = 8 ** 11;
/** Bytes of the whole tar. Modes are 0444 and 0755, owner 0:0, time 0: nothing of this machine is in it. */
export async function* tarBytes(members) {
    for (const member of members) {
        if (member.kind === "directory") {
            yield header(member.name, 0, 0o755, "5");
            continue;
        }
        yield header(member.name, member.size, 0o444, "0");
        let written = 0;
        for await (const chunk of typeof member.data === "function" ? member.data() : [member.data]) {
            written += chunk.length;
            yield chunk;
        }
        if (written !== member.size)
            throw new Error(`${member.name} has ${written} bytes, not ${member.size}`);
        const rest = written % BLOCK;
        if (rest > 0)
            yield Buffer.alloc(BLOCK - rest);
    }
    yield Buffer.alloc(2 * BLOCK);
}
function header(name, size, mode, type) {
    const block = Buffer.alloc(BLOCK);
    if (Buffer.byteLength(name) > 100)
        throw new Error(`name too long for a tar header: ${name}`);
    block.write(name, 0, "utf8");
    block.write(octal(mode, 8), 100, "latin1");
    block.write(octal(0, 8), 108, "latin1"); // uid
    block.write(octal(0, 8), 116, "latin1"); // gid
    if (size < USTAR_MAX_BYTES) {
        block.write(octal(size, 12), 124, "latin1");
    }
    else {
        // GNU base 256 for what eleven octal digits cannot hold; Go, GNU tar and libarchive read it.
        block.writeBigUInt64BE(BigInt(size), 128);
        block[124] = 0x80;
    }
    block.write(octal(0, 12), 136, "latin1"); // mtime
    block.fill(" ", 148, 156);
    block.write(type, 156, "latin1");
    block.write("ustar\u000000", 257, "latin1");
    let sum = 0;
    for (const byte of block)
        sum += byte;
    block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    return block;
}
function octal(value, width) {
    return `${value.toString(8).padStart(width - 1, "0")}\0`;
}
//# sourceMappingURL=tar-bytes.js.map
// [keeper] A pseudo terminal for `tsbuild run -t`. pty(7), ioctl_tty(2).
import { ReadStream } from "node:tty";
import { AT, close, O, openat } from "../sys/file.js";
import { ioctl } from "../sys/ioctl.js";
const TIOCSPTLCK = 0x4004_5431;
const TIOCGPTPEER = 0x5441;
const TIOCSWINSZ = 0x5414;
const O_NOCTTY = 0o400;
/** Opens a terminal pair of the given size (characters). */
export function openTerminal(rows, columns) {
    const master = openat(AT.FDCWD, "/dev/ptmx", O.RDWR | O_NOCTTY);
    ioctl(master, TIOCSPTLCK, Buffer.alloc(4));
    const slave = ioctl(master, TIOCGPTPEER, BigInt(O.RDWR | O_NOCTTY | O.CLOEXEC));
    let slaveOpen = true;
    let stream = null;
    let ended = Promise.resolve();
    const closeSlave = () => {
        if (slaveOpen)
            close(slave);
        slaveOpen = false;
    };
    const resize = (height, width) => {
        const size = Buffer.alloc(8); // struct winsize
        size.writeUInt16LE(height, 0);
        size.writeUInt16LE(width, 2);
        ioctl(master, TIOCSWINSZ, size);
    };
    resize(rows, columns);
    return {
        slave,
        start(onData) {
            const reading = new ReadStream(master);
            stream = reading;
            reading.on("data", (data) => {
                const wait = onData(data);
                if (wait === undefined)
                    return;
                reading.pause();
                wait.then(() => reading.resume(), () => reading.destroy());
            });
            reading.on("error", () => { }); // EIO: the last process with the terminal is gone
            ended = new Promise((resolve) => reading.once("close", () => resolve()));
        },
        write(data) {
            stream?.write(data);
        },
        resize,
        async finish(limitMs) {
            closeSlave(); // the last one: reading ends with EIO behind the last byte
            const timer = setTimeout(() => stream?.destroy(), limitMs);
            await ended;
            clearTimeout(timer);
        },
        close() {
            closeSlave();
            if (stream === null)
                close(master);
            else
                stream.destroy();
        },
    };
}
//# sourceMappingURL=terminal.js.map
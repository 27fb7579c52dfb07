// One message to a unix datagram socket, to which Node cannot write: sd_notify(3).

import { close } from "./file.ts";
import { bind, check } from "./libc.ts";

const [AF_UNIX, SOCK_DGRAM, SOCK_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL] = [1, 2, 0o2000000, 0x40, 0x4000];

const cSocket = bind("socket", "int", ["int", "int", "int"]);
const cSendto = bind("sendto", "int64", ["int", "ptr", "int64", "int", "ptr", "int"]);

/** Sends text to a socket; a path that begins with "@" is a name of the abstract namespace, unix(7). Throws SysError. */
export function sendDatagram(path: string, text: string): void {
  const name = Buffer.from(path.startsWith("@") ? `\0${path.slice(1)}` : path);
  // struct sockaddr_un; the family is of the machine's byte order, which is little-endian on all we run on.
  const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), name]);
  const bytes = Buffer.from(text);
  const fd = check("socket", cSocket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  try {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    check("sendto", cSendto(fd, bytes, bytes.length, flags, address, address.length), path);
  } finally {
    close(fd);
  }
}

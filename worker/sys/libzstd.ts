// The system's zstd library, where there is one (Debian's dpkg, systemd and most package managers bring it): several times as fast as
// WebAssembly. zstd.h, "Simple API", stable since 1.0.

import { promisify } from "node:util";
import koffi from "koffi";

export interface Zstd {
  /** Which zstd, with the version that its bytes depend on. */
  readonly version: string;
  /** Compresses to one frame that states its size, on libuv's pool. The buffer must not change until then. */
  compress(data: Uint8Array, level: number): Promise<Uint8Array>;
  /** The same in this thread, for many small frames, which would wait longer for the pool than they take. The result may be overwritten
   *  by the next one. */
  compressSync(data: Uint8Array, level: number): Uint8Array;
}

/** null: there is no library, or none this process can load. */
export function openLibzstd(): Zstd | null {
  let library: ReturnType<typeof koffi.load>;
  try {
    library = koffi.load("libzstd.so.1");
  } catch {
    return null;
  }
  const bound = library.func("size_t ZSTD_compressBound(size_t size)");
  const isError = library.func("uint ZSTD_isError(size_t code)");
  const nameOf = library.func("str ZSTD_getErrorName(size_t code)");
  const version = library.func("str ZSTD_versionString()");
  const compress = library.func(
    "size_t ZSTD_compress(_Out_ uint8_t *to, size_t room, const uint8_t *from, size_t size, int level)",
  );
  const createContext = library.func("void *ZSTD_createCCtx()");
  const compressIn = library.func(
    "size_t ZSTD_compressCCtx(void *context, _Out_ uint8_t *to, size_t room, const uint8_t *from, size_t size, int level)",
  );
  // Kept for as long as the thread lives: to set one up takes longer than to compress a small file.
  let context: unknown = null;
  let scratch: Buffer = Buffer.alloc(0);
  const compressAsync = promisify<Uint8Array, number, Uint8Array, number, number, number>(
    compress.async.bind(compress),
  );
  return {
    version: `libzstd@${version()} ${process.arch}`,
    async compress(data, level) {
      const to = Buffer.allocUnsafeSlow(Number(bound(data.length)));
      const length = await compressAsync(to, to.length, data, data.length, level);
      if (isError(length) !== 0) throw new Error(`zstd: ${nameOf(length)}`);
      return to.subarray(0, length);
    },
    compressSync(data, level) {
      context ??= createContext();
      const room = Number(bound(data.length));
      if (scratch.length < room) scratch = Buffer.allocUnsafeSlow(room);
      const length = Number(compressIn(context, scratch, room, data, data.length, level));
      if (isError(length) !== 0) throw new Error(`zstd: ${nameOf(length)}`);
      return scratch.subarray(0, length);
    },
  };
}

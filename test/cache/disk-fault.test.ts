// Error messages for full and unwritable disks.

import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { renderFailure } from "../../bin/excerpt.ts";
import { DiskRefused, diskFault, type DiskUse, refusalOf } from "../../cache/disk-fault.ts";
import type { BuildError } from "../../solver/graph/error.ts";
import { freezeError } from "../../worker/keeper/freeze-error.ts";
import { thawError } from "../../worker/keeper/wire-error.ts";
import { errnumOf, SysError } from "../../worker/sys/libc.ts";

const failed = (code: string, path?: string): Error =>
  Object.assign(new Error(`${code}: write`), { code }, path === undefined ? {} : { path });

describe("a disk that takes no more", () => {
  it("is named by its mount point, also for a path that is not there yet", () => {
    for (const path of ["/proc/self", "/proc/self/nope/nope"])
      assert.equal(refusalOf(failed("ENOSPC"), "output", path)?.words, "no space left on /proc");
    assert.equal(refusalOf(failed("ENOSPC"), "output", "/proc/self/fd/nope")?.hint?.includes("prune"), false);
  });

  it("has a hint of what helps there only", () => {
    const hint = (use: DiskUse): string => refusalOf(failed("ENOSPC"), use, "/proc")?.hint ?? "";
    assert.match(hint("store"), /tsbuild prune.*--root/);
    assert.match(hint("output"), /another destination/);
    assert.doesNotMatch(hint("output"), /prune|--root|TMPDIR/);
    assert.match(hint("temporary"), /TMPDIR/);
    assert.doesNotMatch(hint("temporary"), /prune|--root/);
  });

  it("says quota, read-only, too large and device apart", () => {
    const words = (code: string, path = "/proc"): string =>
      refusalOf(failed(code), "output", path)?.words ?? "";
    assert.equal(words("EDQUOT"), "the disk quota on /proc is exceeded");
    assert.equal(words("EROFS"), "/proc is a read-only file system");
    assert.equal(words("EFBIG"), "a file on /proc would exceed the size limit");
    assert.equal(words("ENOSPC", "/dev/full"), "no space left on the device /dev/full");
    assert.equal(words("EACCES"), "");
  });

  it("is told of the store", () => {
    const fault = (code: string): BuildError =>
      diskFault(failed(code), "writing a blob", "/proc") as BuildError;
    const full = fault("ENOSPC");
    assert.deepEqual(
      [full.code, full.message],
      ["STORE_FULL", "no space left on /proc (the disk of the store) while writing a blob"],
    );
    assert.equal(fault("EDQUOT").code, "STORE_FULL");
    assert.equal(fault("EROFS").code, "STORE_UNUSABLE");
  });

  it("comes out of the keeper, through its threads, as what the front knows it to be", () => {
    const met = new SysError("write", errnumOf("ENOSPC"), "usr/bin/tool");
    const thawed = thawError(freezeError(thawError(freezeError(met))));
    assert.ok(thawed instanceof DiskRefused);
    assert.equal(
      thawed.of("store", "/proc").message,
      "usr/bin/tool: no space left on /proc (the disk of the store)",
    );
    const { code, message, hint } = thawed.of("output", "/proc/out");
    assert.deepEqual([code, message], ["OUTPUT_FAILED", "cannot write /proc/out: no space left on /proc"]);
    assert.doesNotMatch(hint ?? "", /prune/);
  });

  it("is not meant by a limit of the kernel, which says ENOSPC as well", () => {
    for (const call of ["move_mount", "unshare"]) {
      const thawed = thawError(freezeError(new SysError(call, errnumOf("ENOSPC"), "")));
      assert.ok(!(thawed instanceof DiskRefused));
      assert.match(thawed.message, /ENOSPC/);
    }
  });

  it("is no bug, whoever met it", () => {
    const options = { sources: new Map(), state: null, colours: null, prefix: "", debug: false };
    const text = renderFailure(failed("ENOSPC", join(tmpdir(), "ssh-1/agent")), options);
    assert.match(text, /^ERROR: cannot write .*ssh-1\/agent: no space left on \S+$/m);
    assert.match(text, /hint: .*TMPDIR/);
    assert.doesNotMatch(renderFailure(failed("ENOSPC"), options), /bug/);
    assert.match(renderFailure(failed("ENOTEMPTY"), options), /bug/);
  });
});

// Layers whose tars omit parent directories, mounted together: they show the same as containerd's apply.

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { applyLayer } from "../../cache/layers/apply.ts";
import { stackOf } from "../../worker/ops/stack.ts";
import { makeTar, type Member, temporary } from "../cache/layers/support.ts";
import { describeAsRoot } from "../support/privileges.ts";

describeAsRoot("directories that a layer only implies", () => {
  const temp = temporary();

  async function layers(...tars: readonly (readonly Member[])[]): Promise<string[]> {
    const place = temp();
    const dirs: string[] = [];
    for (const [index, members] of tars.entries()) {
      const outer = join(place, `${index}`);
      const dir = join(outer, "fs");
      mkdirSync(dir, { recursive: true });
      writeFileSync(join(outer, "blob"), makeTar(members));
      await applyLayer({ blob: join(outer, "blob"), mediaType: "", diffId: null, dir });
      dirs.push(dir);
    }
    return dirs;
  }
  const look = (path: string): readonly number[] => {
    const { mode, uid, gid, mtimeMs } = statSync(path);
    return [mode & 0o7777, uid, gid, mtimeMs / 1000];
  };
  const base: readonly Member[] = [
    { name: "tmp/", type: "dir", mode: 0o1777, mtimeSeconds: 5 },
    { name: "home/", type: "dir", mode: 0o711, mtimeSeconds: 6 },
    { name: "home/u/", type: "dir", mode: 0o700, uid: 7, gid: 8, mtimeSeconds: 9 },
    { name: "gone/", type: "dir", mode: 0o700 },
  ];

  it("look as in the layers below", async () => {
    const dirs = await layers(base, [{ name: "tmp/f" }, { name: "home/u/new/f" }]);
    const stack = stackOf(dirs);
    assert.equal(stack.length, 3);
    assert.deepEqual(stack.slice(0, 2), dirs);
    const top = stack[2] as string;
    assert.deepEqual(look(join(top, "tmp")), [0o1777, 0, 0, 5]);
    assert.deepEqual(look(join(top, "home")), [0o711, 0, 0, 6]);
    assert.deepEqual(look(join(top, "home/u")), [0o700, 7, 8, 9]);
    assert.deepEqual(readdirSync(join(top, "home/u")), []); // nobody below has "new"
    assert.deepEqual(stackOf(dirs), stack); // made once
  });

  it("look as in the nearest layer that says so, and plain behind a deletion", async () => {
    const dirs = await layers(
      base,
      [{ name: "tmp/", type: "dir", mode: 0o770, mtimeSeconds: 1 }, { name: ".wh.gone" }],
      [{ name: "tmp/a" }],
      [{ name: "tmp/b" }, { name: "gone/f" }],
    );
    const stack = stackOf(dirs);
    assert.equal(stack.length, 6);
    assert.deepEqual(look(join(stack.at(-1) as string, "tmp")), [0o770, 0, 0, 1]);
    assert.deepEqual(readdirSync(stack.at(-1) as string), ["tmp"]);
  });

  it("need nothing where the layer names them itself, or is the lowest", async () => {
    const dirs = await layers(
      [{ name: "tmp/f" }],
      [{ name: "tmp/g" }, { name: "tmp/", type: "dir", mode: 0o1777 }],
    );
    assert.deepEqual(stackOf(dirs), dirs);
    assert.equal(statSync(join(dirs[0] as string, "tmp")).mtimeMs, 0); // no clock
  });
});

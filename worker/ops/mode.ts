// Symbolic modes as in chmod(1) and BSD's setmode(3): "u=rwX,go-w". The umask is ignored: the output of a step
// must not depend on the user's umask.

import { BuildError } from "../../solver/graph/error.ts";

/** Changes a mode (permission and special bits); `isDirectory` matters for X. */
export type ModeChange = (mode: number, isDirectory: boolean) => number;

const CLASSES = { u: 0o4700, g: 0o2070, o: 0o0007, a: 0o6777 } as const;
const SHIFT = { u: 6, g: 3, o: 0 } as const;
const STICKY = 0o1000;

/** Parses octal digits or clauses like "u+rw,go=u-w". Throws COPY_FAILED on anything else. */
export function parseMode(text: string): ModeChange {
  if (/^[0-7]{1,5}$/.test(text) && Number.parseInt(text, 8) <= 0o7777) {
    const mode = Number.parseInt(text, 8);
    return () => mode;
  }
  if (!/^[ugoa]*(?:[-+=][rwxXstugo]*)+(?:,[ugoa]*(?:[-+=][rwxXstugo]*)+)*$/.test(text)) {
    throw new BuildError("COPY_FAILED", `invalid mode ${JSON.stringify(text)}`);
  }
  const changes = text.split(",").flatMap((clause) => {
    const who = /^[ugoa]*/.exec(clause)?.[0] ?? "";
    return [...clause.slice(who.length).matchAll(/([-+=])([^-+=]*)/g)].flatMap(([, op = "", what = ""]) =>
      // What "=" takes away it does once: an X behind a copied class only adds.
      (what.match(/[^ugo]+|[ugo]/g) ?? [""]).map((part, index) =>
        change(who, op === "=" && index > 0 && /^X+$/.test(part) ? "+" : op, part),
      ),
    );
  });
  return (mode, isDirectory) => {
    const canExecute = isDirectory || (mode & 0o111) !== 0;
    return changes.reduce((now, apply) => apply(now, canExecute), mode);
  };
}

/** One operator of a clause, with permissions or with one class to copy. `canExecute`: what X asks, judged before any change. */
function change(who: string, op: string, what: string): (mode: number, canExecute: boolean) => number {
  const named = who.split("").reduce((bits, letter) => bits | CLASSES[letter as keyof typeof CLASSES], 0);
  const onlyOthers = named !== 0 && (named & ~CLASSES.o) === 0;
  const classes = named === 0 ? CLASSES.a : named; // without a class all are meant
  const isCopy = /[ugo]/.test(what);
  // What is copied are permissions. The sticky bit has no class: it is touched only where t is said.
  const touchesSticky = what.includes("t") && !onlyOthers;
  // Without a class, t stands for itself and leaves what is beside it without effect: setmode.c as BuildKit has it.
  const isStickyAlone = named === 0 && touchesSticky;
  const mask = isCopy ? classes & 0o777 : (isStickyAlone ? 0 : classes) | (touchesSticky ? STICKY : 0);
  return (mode, canExecute) => {
    let bits = 0;
    for (const letter of what) {
      if (letter === "r") bits |= 0o444;
      else if (letter === "w") bits |= 0o222;
      else if (letter === "x") bits |= 0o111;
      else if (letter === "X") bits |= op === "-" || canExecute ? 0o111 : 0;
      else if (letter === "s") bits |= onlyOthers ? 0 : 0o6000;
      else if (letter === "t") bits |= onlyOthers ? 0 : STICKY;
      else bits |= ((mode >> SHIFT[letter as keyof typeof SHIFT]) & 7) * 0o111; // a copy of another class
    }
    if (op === "+") return mode | (bits & mask);
    if (op === "-") return mode & ~(bits & mask);
    return (mode & ~mask) | (bits & mask);
  };
}

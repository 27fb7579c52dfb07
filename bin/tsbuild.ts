#!/usr/bin/env node
// The command's entry: the bundle of bin/main.ts when there is one, else its modules one by one.

import { runBundle } from "../solver/graph/bundle.ts";

if (!runBundle("main")) await import("./main.ts");

import type { ExecOp } from "./op.ts";
import { type Field } from "./wire.ts";
/** The exec body of pb.Op. */
export declare const execField: Field<ExecOp | null>;

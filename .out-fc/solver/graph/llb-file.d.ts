import type { FileOp } from "./op.ts";
import { type Field } from "./wire.ts";
/** The file body of pb.Op. */
export declare const fileField: Field<FileOp | null>;

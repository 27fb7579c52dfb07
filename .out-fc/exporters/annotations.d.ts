import { type Platform } from "../solver/graph/op.ts";
export type AnnotationTarget = "manifest" | "manifest-descriptor" | "index" | "index-descriptor";
export interface Annotation {
    readonly target: AnnotationTarget;
    /** "linux/arm64": only that platform's; null: all. */
    readonly platform: string | null;
    readonly key: string;
    readonly value: string;
}
/** What applies to one manifest (or, for platform null, to the index). */
export interface AppliedAnnotations {
    readonly manifest: Readonly<Record<string, string>>;
    readonly manifestDescriptor: Readonly<Record<string, string>>;
    readonly index: Readonly<Record<string, string>>;
    readonly indexDescriptor: Readonly<Record<string, string>>;
}
/** Reads an output attribute `annotation[-TARGET][[PLATFORM]].KEY`; null when it is no annotation. Throws OUTPUT_INVALID. */
export declare function parseAnnotationAttribute(name: string, value: string): Annotation | null;
/** Reads the value of --annotation: `[TARGET[[PLATFORM]][,TARGET…]:]KEY=VALUE`. Throws OUTPUT_INVALID. */
export declare function parseAnnotationFlag(text: string): readonly Annotation[];
/** Annotations for a platform: those of all platforms, then its own. Index ones do not depend on a platform. */
export declare function annotationsFor(annotations: readonly Annotation[], platform: Platform | null): AppliedAnnotations;

import { type CallOptions, type Converted, type FrontendHost, type FrontendOptions } from "../../frontend/frontend.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Op, Platform } from "../../solver/graph/op.ts";
import type { ImageConfig } from "../../solver/graph/request.ts";
export declare const AMD64: Platform;
export declare const ARM64: Platform;
/** Images by reference; a list has one config a platform. */
export type Images = Readonly<Record<string, object | readonly object[]>>;
/** Config of a small base image; `config` adds to it. */
export declare function baseImage(config?: object, platform?: Platform): object;
/** Answers for these images only; `asked` notes what it was asked for. */
export declare function hostOf(images?: Images, asked?: string[]): FrontendHost;
export declare function optionsOf(dockerfile: string, more?: Partial<FrontendOptions>): FrontendOptions;
/** A signal that never comes. */
export declare const CALL: CallOptions;
export declare function build(dockerfile: string, more?: Partial<FrontendOptions>, host?: FrontendHost): Promise<Converted>;
/** The one image of a build, or the first. */
export declare function image(dockerfile: string, more?: Partial<FrontendOptions>, host?: FrontendHost): Promise<{
    readonly definition: Definition;
    readonly config: ImageConfig;
    readonly steps: readonly string[];
    readonly history: readonly string[];
}>;
/** The error a conversion ends with. */
export declare function failure(dockerfile: string, more?: Partial<FrontendOptions>, host?: FrontendHost): Promise<BuildError>;
/** Ops of one kind, inputs first. */
export declare function opsOf<K extends Op["kind"]>(definition: Definition, kind: K): readonly (Op & {
    readonly kind: K;
})[];
/** A graph for people: each vertex with a number, what it is called, what it does and on what. */
export declare function graphText({ vertices, notes, root }: Definition): string;

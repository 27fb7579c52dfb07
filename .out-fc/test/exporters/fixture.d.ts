import { type Store } from "../../cache/store.ts";
import type { ExportContext, ExportDeps, LayerSource } from "../../exporters/exporter.ts";
import { type Registry } from "../../cache/registry/client.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import type { BuiltImage, ImageConfig, LayerId } from "../../solver/graph/request.ts";
export interface Fixture extends AsyncDisposable {
    readonly dir: string;
    readonly store: Store;
    readonly registry: Registry;
    readonly layers: LayerSource;
    readonly deps: ExportDeps;
    readonly events: ProgressEvent[];
    /** Adds a layer with one file; the same arguments give the same layer. */
    addLayer(name: string, text: string): Promise<LayerId>;
    image(layers: readonly LayerId[], change?: Partial<ImageConfig>): BuiltImage;
    context(change?: Partial<ExportContext>): ExportContext;
}
export declare function openFixture(change?: Partial<ExportDeps>): Promise<Fixture>;
/** All bytes of a stream. */
export declare function collect(data: AsyncIterable<Uint8Array>): Promise<Buffer>;
/** One chunk as a stream. */
export declare function bytesOf(data: Uint8Array): AsyncGenerator<Uint8Array, void, undefined>;

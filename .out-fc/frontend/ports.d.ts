export interface ExposedPorts {
    /** "80/tcp", in the order of the range. */
    readonly ports: readonly string[];
    readonly isMapping: boolean;
    readonly hasCapitals: boolean;
}
/** Reads one word of EXPOSE. Throws DOCKERFILE_SYNTAX. */
export declare function parsePorts(text: string): ExposedPorts;

/** The target with its dangling links replaced by what they say, as runc does it; other targets as they are. The result
 *  is only a name to be made: mounting resolves it again, inside the root, by descriptor. */
export declare function resolveTarget(rootFd: number, target: string): string;

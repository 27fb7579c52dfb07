/** ioctl(2) with a structure or a number as its argument. */
export declare function ioctl(fd: number, request: number, argument: Buffer | bigint): number;

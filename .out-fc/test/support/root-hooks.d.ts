export declare const mochaHooks: {
    afterAll(): Promise<void>;
};

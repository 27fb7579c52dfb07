// What the front asks of the keeper, as data. Paths are absolute and of the store or of a context; file bytes never cross.
export {};
//# sourceMappingURL=messages.js.map
// Instruction: the Dockerfile as typed data with ranges. Words are still unexpanded here unless said otherwise.
export {};
//# sourceMappingURL=instruction.js.map
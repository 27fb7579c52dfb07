// ProgressEvent: all that rooms report. Only bin/ turns events into text.
export {};
//# sourceMappingURL=event.js.map
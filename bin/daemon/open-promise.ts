// A promise with its ends, for what is decided somewhere else.

export interface OpenPromise<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: Error): void;
}

/** A rejection nobody waits for is no fault. */
export function openPromise<T>(): OpenPromise<T> {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  promise.catch(() => {}); // told to who waits for it
  return { promise, resolve, reject };
}

// [keeper] The settings, and the first thread of the pool. Imported first: a thread takes 35 ms to start, and the first
// layer of a short build is packed about that long after the keeper has loaded its code, which takes another 10.

import type { Worker } from "node:worker_threads";
import type { KeeperSettings } from "./keeper.ts";
import { startThread, type ThreadData } from "./threads.ts";

export const settings: KeeperSettings = JSON.parse(process.argv[2] ?? "") as KeeperSettings;
/** What every thread is started with. */
export const threadData: ThreadData = {
  singleId: settings.singleId,
  storeDir: settings.storeDir,
  loading: new Int32Array(new SharedArrayBuffer(4)),
};
export const firstThread: Worker = startThread(threadData);

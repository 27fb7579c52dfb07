import { openMemoryStore } from "../support/memory-store.ts";
import { storeSuite } from "../suites/store.ts";

storeSuite("The store in memory", async () => openMemoryStore());

// The package's version, from its package.json, wherever the compiled files lie below it.
import { readFileSync } from "node:fs";
/** Semantic version of this package. */
export function packageVersion() {
    for (let dir = new URL(".", import.meta.url);; dir = new URL("..", dir)) {
        try {
            const { name, version } = JSON.parse(readFileSync(new URL("package.json", dir), "utf8"));
            if (name === "tsbuild" && typeof version === "string")
                return version;
        }
        catch (error) {
            if (error.code !== "ENOENT")
                throw error;
        }
        if (dir.pathname === "/")
            throw new Error("package.json of tsbuild not found");
    }
}
//# sourceMappingURL=version.js.map
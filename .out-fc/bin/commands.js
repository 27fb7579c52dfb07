// The commands: name, one line for the help, and where the rest is. Only the one that is called is loaded.
export const COMMANDS = [
    { name: "build", summary: "Build an image from a Dockerfile", load: () => import("./commands/build.js") },
    { name: "run", summary: "Run a command in an image", load: () => import("./commands/run.js") },
    {
        name: "images",
        summary: "List the images of the local store",
        load: () => import("./commands/images.js"),
    },
    { name: "pull", summary: "Download an image from a registry", load: () => import("./commands/pull.js") },
    { name: "push", summary: "Upload an image to a registry", load: () => import("./commands/push.js") },
    { name: "tag", summary: "Give an image another name", load: () => import("./commands/tag.js") },
    { name: "rmi", summary: "Remove names of images", load: () => import("./commands/rmi.js") },
    {
        name: "inspect",
        summary: "Show all that is known of images, as JSON",
        load: () => import("./commands/inspect.js"),
    },
    { name: "history", summary: "Show how an image was made", load: () => import("./commands/history.js") },
    { name: "du", summary: "Show what the local store holds", load: () => import("./commands/du.js") },
    {
        name: "prune",
        summary: "Remove what no image needs from the local store",
        load: () => import("./commands/prune.js"),
    },
    { name: "version", summary: "Print the version", load: () => import("./commands/version.js") },
];
/** docker's longer ways to say the same: "image ls", "buildx build", "builder prune". */
export function resolveAlias(words) {
    const [first = "", second = "", ...rest] = words;
    if (first === "b")
        return ["build", ...words.slice(1)];
    if (!["image", "buildx", "builder"].includes(first) || second === "" || second.startsWith("-"))
        return words;
    const name = second === "ls" || second === "list" ? "images" : second === "rm" || second === "remove" ? "rmi" : second;
    return [name, ...rest];
}
//# sourceMappingURL=commands.js.map
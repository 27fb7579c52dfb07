process.stdout.write(`express ${require("express/package.json").version.split(".")[0]}\n`);

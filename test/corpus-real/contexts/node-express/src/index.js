const express = require("express");

const app = express();
app.get("/", (_request, response) => response.json({ env: process.env.NODE_ENV, user: process.getuid() }));
const server = app.listen(3000, async () => {
  if (!process.argv.includes("--once")) return;
  const answer = await fetch("http://127.0.0.1:3000/");
  process.stdout.write(`${await answer.text()}\n`);
  server.close();
});

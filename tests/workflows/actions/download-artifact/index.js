const fs = require("fs");
const path = require("path");

const input = (name) => process.env["INPUT_" + name.toUpperCase()] ?? "";
const store = path.join(process.env.ARTIFACTS, input("name"));
if (!fs.existsSync(store)) throw new Error(`there is no artifact ${input("name")}`);
const to = path.resolve(process.env.GITHUB_WORKSPACE, input("path"));
fs.mkdirSync(to, { recursive: true });
fs.cpSync(store, to, { recursive: true });
console.log(`${input("name")} is in ${input("path")}`);

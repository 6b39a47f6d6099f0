const fs = require("fs");
const path = require("path");

const input = (name) => process.env["INPUT_" + name.toUpperCase()] ?? "";
const root = process.env.GITHUB_WORKSPACE;
const store = path.join(process.env.ARTIFACTS, input("name"));
const hidden = input("include-hidden-files") === "true";
const patterns = input("path").split("\n").map((line) => line.trim()).filter((line) => line !== "");

// Where a pattern begins to be one: what is before its first `*`, folder by folder.
function searched(pattern) {
    const parts = pattern.replace(/\/+$/, "").split("/");
    const end = parts.findIndex((part) => part.includes("*"));
    return end < 0 ? parts : parts.slice(0, end);
}

// Of several patterns, the folder that all of them are below; of one, itself, or its folder if it is a file.
function top() {
    const all = patterns.map(searched);
    if (all.length === 1) {
        const isFile = fs.statSync(path.join(root, ...all[0]), { throwIfNoEntry: false })?.isFile();
        return isFile ? all[0].slice(0, -1) : all[0];
    }
    let shared = 0;
    while (all.every((parts) => shared < parts.length && parts[shared] === all[0][shared])) shared += 1;
    return all[0].slice(0, shared);
}

// Every file below the folder, as a list of parts.
function filesBelow(parts) {
    const here = path.join(root, ...parts);
    return fs.readdirSync(here, { withFileTypes: true }).flatMap((entry) => {
        const next = [...parts, entry.name];
        if (!hidden && entry.name.startsWith(".")) return [];
        if (entry.isDirectory()) return filesBelow(next);
        return fs.statSync(path.join(root, ...next), { throwIfNoEntry: false })?.isFile() ? [next] : [];
    });
}

// Whether a file is named by a pattern, or is below a folder that is.
function matches(file, pattern) {
    const parts = pattern.replace(/\/+$/, "").split("/");
    const isOne = (part, name) => new RegExp("^" + part.split("*").map((text) =>
        text.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*") + "$").test(name);
    return parts.length <= file.length && parts.every((part, index) => isOne(part, file[index]));
}

if (patterns.some((pattern) => pattern.includes("**") || pattern.startsWith("!") || path.isAbsolute(pattern))) {
    throw new Error("this stand-in knows no such pattern");
}
if (fs.existsSync(store)) {
    if (input("overwrite") !== "true") throw new Error(`an artifact ${input("name")} is there already`);
    fs.rmSync(store, { recursive: true });
}
const above = top();
const isThere = fs.existsSync(path.join(root, ...above));
const hiddenAbove = !hidden && above.some((part) => part.startsWith("."));
const files = isThere && !hiddenAbove ? filesBelow(above).filter((file) => patterns.some((one) => matches(file, one))) : [];
if (files.length === 0 && input("if-no-files-found") === "error") throw new Error("no files were found");
for (const file of files) {
    const to = path.join(store, ...file.slice(above.length));
    fs.mkdirSync(path.dirname(to), { recursive: true });
    fs.writeFileSync(to, fs.readFileSync(path.join(root, ...file)), { mode: 0o644 });
}
console.log(`${files.length} files are kept as ${input("name")}`);

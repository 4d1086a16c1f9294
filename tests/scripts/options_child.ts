/** Prints what `readOptions` makes of its arguments. */
import { readOptions } from "../../scripts/options.ts";

const out = { default: "", help: "a folder", path: true };
const many = { default: "", help: "may be repeated", many: true };
console.log(JSON.stringify(readOptions("child A B", { out, many }, 2)));

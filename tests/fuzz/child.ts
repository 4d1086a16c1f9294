/** Runs the cases named on its standard input, `kind seed` a line, and prints a line of JSON for each. */
import process from "node:process";
import { type Kind, prepare, runCase } from "./cases.ts";

const [folder] = Deno.args;
await prepare(`${folder}/whole`);
console.log(JSON.stringify({ ready: true }));
for (const line of (await new Response(Deno.stdin.readable).text()).trim().split("\n")) {
  const [kind, seed] = line.split(" ");
  const found = await runCase(kind as Kind, Number(seed), { whole: `${folder}/whole`, folder: `${folder}/cases` });
  console.log(JSON.stringify({ ...found, kind, seed: Number(seed), rss: 1024 * process.resourceUsage().maxRSS }));
}

/**
 * The plan for LLaDA-8B on this machine, from a checkpoint of its shapes that holds zeros: what README shows.
 *
 *     deno run -A tests/bench/plan_8b.ts [options of deno task quantize]
 */
import { fromFileUrl } from "@std/path";
import { llada8b, writeSparse } from "./synthetic.ts";

const folder = await Deno.makeTempDir();
try {
  await writeSparse(`${folder}/LLaDA-8B`, llada8b(32, 126464));
  const script = fromFileUrl(new URL("../../scripts/quantize.ts", import.meta.url));
  const args = ["run", "-A", script, `${folder}/LLaDA-8B`, "--out", `${folder}/packed`, "--plan", ...Deno.args];
  const { code } = await new Deno.Command(Deno.execPath(), { args, stdout: "inherit", stderr: "inherit" }).output();
  Deno.exitCode = code;
} finally {
  await Deno.remove(folder, { recursive: true });
}

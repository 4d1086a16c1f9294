/** Options of every script: what cannot be meant is refused with exit 2 and the option's name; arguments are taken as typed. */
import { assertEquals, assertStringIncludes } from "@std/assert";

async function run(script: string, args: readonly string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", "-A", `scripts/${script}.ts`, ...args],
    env: { NO_COLOR: "1", ...env },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

const quantize = ["m", "--out", "o"];
const wrong: readonly (readonly [script: string, args: readonly string[], option: string])[] = [
  ...["5%", "abc", "-0.05", "0x1", "1e400", "0.6"].map((v) =>
    ["quantize", [...quantize, `--abmp=${v}`], "--abmp"] as const
  ),
  ["quantize", [...quantize, "--method", "gptq", "--abmp", "0.05"], "--abmp"],
  ["quantize", [...quantize, "--method", "rtn", "--row-scale-bits", "8"], "--row-scale-bits"],
  ["quantize", [...quantize, "--bits", "4"], "--bits"],
  ["quantize", [...quantize, "--bits", "3", "--abmp", "0.1"], "--abmp"],
  ["quantize", [...quantize, "--method", "sdq-llm", "--rate", "0.5"], "--rate"],
  ["quantize", [...quantize, "--method", "aqlm", "--book-bits", "17"], "--book-bits"],
  ["quantize", [...quantize, "--method", "constructor"], "--method"],
  ["quantize", [...quantize, "--bits", "2", "--bits", "3"], "--bits"],
  ["quantize", [...quantize, "--plan=yes"], "--plan"],
  ["quantize", ["m", "--out"], "--out"],
  ["quantize", [...quantize, "--seed", "NaN"], "--seed"],
  ["quantize", [...quantize, "--windows", "0x10"], "--windows"],
  ["quantize", [...quantize, "--tune-steps", "5"], "--tune-steps"],
  ["quantize", [...quantize, "--config-override", "rope_theta"], "--config-override"],
  ["quantize", [...quantize, "--mask-id", "-1"], "--mask-id"],
  ["evaluate", ["m", "--tasks", "elbo,,nano_piqa"], "--tasks"],
  ["evaluate", ["m", "--tasks", "toString"], "--tasks"],
  ["evaluate", ["m", "--seed", "1.5"], "--seed"],
  ["evaluate", ["m", "--tasks", "nano_piqa", "--cfg", "1"], "--cfg"],
  ["quantize", ["data/nano-llada", "--out", "o", "--calibration", "nanoworld", "--length", "4096"], "--length"],
  ["reproduce", ["--quick", "--only", "nothing"], "--only"],
  ["generate", ["m", "p", "--temperature", "warm"], "--temperature"],
  ["generate", ["m", "-5 degrees"], "--"],
  ["export", ["m", "--format", "hf", "--out", "o", "--dtype", "float64"], "--dtype"],
  ["reproduce", ["--study", "__proto__"], "--study"],
  ["reproduce", ["--workers", "-1"], "--workers"],
  ["train-nano", ["--rate", "fast"], "--rate"],
  ["gate", ["--device", "tpu"], "--device"],
  ["make-world", ["--seed", "one"], "--seed"],
  ["size-options", ["--limit", "1.5"], "--limit"],
  ["figures", ["--from", ""], "--from"],
  ["notebooks", ["--chek"], "--chek"],
  ["kernel", ["--prefix", " "], "--prefix"],
];

Deno.test("options that cannot be meant: exit 2, the option named, in every script", async () => {
  for (let at = 0; at < wrong.length; at += 4) {
    await Promise.all(
      wrong.slice(at, at + 4).map(async ([script, args, option]) => {
        const { code, err } = await run(script, args);
        assertEquals([code, err.trim().split("\n").length], [2, 1], `${script} ${args.join(" ")}: ${err}`);
        assertStringIncludes(err, option);
      }),
    );
  }
});

Deno.test("arguments are taken as typed, behind -- also those with a dash; paths from where the user stands", async () => {
  const child = async (args: readonly string[], env = {}) => {
    const { code, out, err } = await run("../tests/scripts/options_child", args, env);
    assertEquals(code, 0, err);
    return JSON.parse(out);
  };
  for (const [a, b] of [["007", "1.50"], ["0x10", "2.10"], ["1e3", " "]]) assertEquals((await child([a, b]))._, [a, b]);
  const options = await child(["--out", "x/2.10", "--many", "a=1", "--many=b=-2", "--", "-5", "--help"], {
    INIT_CWD: "/stands/here",
  });
  assertEquals(options, { out: "/stands/here/x/2.10", many: "a=1\nb=-2", _: ["-5", "--help"] });
});

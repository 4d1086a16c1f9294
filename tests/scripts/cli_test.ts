/** The command line as a person meets it: wrong words, wrong places, wrong values. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys", "--allow-write"];

async function script(name: string, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", ...permissions, `scripts/${name}.ts`, ...args],
    env: { NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

Deno.test("command line: an unknown option exits 2 and says where the options are", async () => {
  const { code, err } = await script("reproduce", "--quik");
  assertEquals(code, 2);
  assertStringIncludes(err, "Unknown option '--quik'");
  assertStringIncludes(err, "--help lists the options");
});

Deno.test("command line: --help exits 0 and names every option with its default", async () => {
  const { code, out } = await script("quantize", "--help");
  assertEquals(code, 0);
  for (const option of ["--out", "--method", "--bits", "--group", "--device"]) assertStringIncludes(out, option);
});

Deno.test("command line: a required option and a wrong number are named", async () => {
  const missing = await script("quantize", "data/nano-llada");
  assertEquals(missing.code, 2);
  assertStringIncludes(missing.err, "--out is missing");
  const wrong = await script("reproduce", "--seeds", "many");
  assertEquals(wrong.code, 2);
  assertStringIncludes(wrong.err, '--seeds is "many", wanted a positive integer');
});

Deno.test("command line: a folder without a checkpoint is named, in one line without a stack", async () => {
  const { code, err } = await script("evaluate", "tests/no-such-folder");
  assertEquals(code, 1);
  assertStringIncludes(err, 'nor is there a folder "tests/no-such-folder" here');
  assert(!err.includes("    at "), err);
  const path = await script("evaluate", "./tests/no-such-folder");
  assertEquals(path.code, 1);
  assertStringIncludes(path.err, 'Cannot open "./tests/no-such-folder": there is no such folder');
});

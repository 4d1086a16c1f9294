/** `deno task generate` on the testbed model, as a person runs it. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys"];

async function generate(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", ...permissions, "scripts/generate.ts", ...args],
    env: { NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

const model = "data/nano-llada";
const small = ["--length", "12", "--steps", "6", "--device", "cpu"];

Deno.test("generate: the text alone on stdout, what it took on stderr, the same for the same seed", async () => {
  const warm = [model, "lomen rubs the boat and it", ...small, "--temperature", "1"];
  const [empty, first, again, other] = await Promise.all([
    generate(model, "hi", "--length", "4", "--device", "cpu"),
    generate(...warm, "--seed", "1"),
    generate(...warm, "--seed", "1"),
    generate(...warm, "--seed", "2"),
  ]);
  assertEquals([first.code, first.err.includes("continued the plain text")], [0, true]);
  assertMatch(first.out, /^[^\n]+\n$/);
  assertMatch(first.err, /llada-b12-t1 /);
  assertMatch(first.err, /^\d+ new tokens in .* per second, 6 function evaluations$/m);
  assertEquals(again.out, first.out);
  // The testbed has nothing to say to that.
  assertEquals([empty.code, empty.out], [0, "\n"]);
  assertStringIncludes(empty.err, "the answer is empty: its first token ends the text");
  assertEquals(other.out === first.out, false);
});

Deno.test("generate: Dream's sampler by name, and its greedy text", async () => {
  const { code, err } = await generate(model, "lomen rubs the boat and it", ...small, "--sampler", "dream");
  assertEquals(code, 0);
  assertStringIncludes(err, "dream-entropy ");
});

Deno.test("generate: what does not fit is told in one line", async () => {
  for (
    const [args, message] of [
      [["--chat"], "Cannot apply a chat template for data/nano-llada"],
      [["--block", "5"], "block 5: wanted a divisor of length 12"],
      [["--sampler", "best"], '--sampler is "best", wanted one of auto, llada, dream'],
      [["--temperature=-1"], '--temperature is "-1", wanted a number'],
      [["--seed", "x"], '--seed is "x"'],
      [["--threshold", "0.9"], "--threshold and --steps exclude one another"],
      [["--cfg", "1", "--cache", "dual"], "--cfg and --cache exclude one another"],
      [["--cache", "all"], '--cache is "all", wanted one of none, prefix, dual'],
      [["--sampler", "dream", "--cfg", "1"], "--cfg is for LLaDA's sampler"],
      [["--sampler", "dream", "--threshold", "0"], "--threshold is for LLaDA's sampler"],
      [["--eos", "no"], '--eos is "no", wanted one of plain, defer, forbid'],
    ] as const
  ) {
    const { code, out, err } = await generate(model, "a", ...small, ...args);
    assertEquals([code, out], [message.startsWith("--") ? 2 : 1, ""], err);
    assertStringIncludes(err, message);
    assertEquals(err.includes("    at "), false);
  }
});

Deno.test("generate: --json gives one line of what was written and what it took, in parallel against kept keys and values", async () => {
  const parallel = [
    "--length",
    "12",
    "--device",
    "cpu",
    "--block",
    "6",
    "--threshold",
    "0.3",
    "--cache",
    "dual",
    "--json",
  ];
  const { code, out, err } = await generate(model, "lomen rubs the boat and it", ...parallel);
  assertEquals(code, 0, err);
  const { text, tokens, newTokens, passes, seconds, tokensPerSecond, sampler, prompt, seed } = JSON.parse(out);
  assertEquals([tokens.length, prompt, seed], [12, "lomen rubs the boat and it", 1]);
  assertEquals(sampler, "llada-b6-threshold0.3-dual");
  assertEquals([text.length > 0, passes >= 2 && passes < 12, seconds > 0], [true, true, true]);
  assertEquals(tokensPerSecond, newTokens / seconds);
});

/** All benches in turn, each in a process of its own. Exits 1 when one of them misses a bar or fails, after all have run. */
const plain = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys"];
const writing = [...plain, "--allow-write"];
const benches: readonly (readonly [flags: readonly string[], bench: string, ...args: string[]])[] = [
  [plain, "factor"],
  [plain, "gptq"],
  [plain, "daq"],
  [plain, "methods"],
  [plain, "solver", "official"],
  [plain, "backward"],
  [["--v8-flags=--expose-gc", ...writing], "packed"],
  [writing, "decoding"],
  [writing, "full_block", "official"],
  [writing, "full_block", "plus"],
  [writing, "full_block_tuning", "codes"],
];
const failed: string[] = [];
for (const [flags, bench, ...own] of benches) {
  const args = ["run", ...flags, new URL(`${bench}.ts`, import.meta.url).pathname, ...own];
  const { code } = await new Deno.Command(Deno.execPath(), {
    args,
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  })
    .output();
  if (code !== 0) failed.push([bench, ...own].join(" "));
}
if (failed.length > 0) {
  console.error(`Missed a bar or failed: ${failed.join(", ")}`);
  Deno.exitCode = 1;
}

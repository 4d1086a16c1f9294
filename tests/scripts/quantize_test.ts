/** `deno task quantize` on the testbed model, as a person runs it. */
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { checkRoom, type Plan } from "../../lib/pipeline/plan.ts";
import { inFolder } from "../model/tiny.ts";
import { contents } from "../pipeline/checkpoints.ts";

const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys", "--allow-write"];
const small = [
  "--calibration",
  "data/nanoworld/calibration.jsonl",
  "--windows",
  "8",
  "--length",
  "48",
  "--device",
  "cpu",
];

function command(...args: string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", ...permissions, "scripts/quantize.ts", ...args],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  });
}

async function run(...args: string[]) {
  const { code, stdout, stderr } = await command(...args).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

Deno.test("quantize: the plan is shown first, and its sizes are those that come out", async () => {
  await inFolder(async (folder) => {
    const options = [
      "data/nano-llada",
      "--out",
      `${folder}/packed`,
      ...small,
      "--embed-bits",
      "8",
      "--row-scale-bits",
      "8",
    ];
    const planned = await run(...options, "--plan");
    assertEquals(planned.code, 0, planned.err);
    for (const word of ["bits per weight", "memory", "disk", "per block", "in all"]) {
      assertStringIncludes(planned.err, word);
    }
    assertEquals(await contents(folder), {});
    const made = await run(...options);
    assertEquals(made.code, 0, made.err);
    const [plan, summary] = [JSON.parse(planned.out), JSON.parse(made.out)];
    assertEquals(plan.linears, summary.linears);
    assert(
      Math.abs(plan.bitsPerWeight - summary.bitsPerWeight) < 1e-2,
      `${plan.bitsPerWeight} ${summary.bitsPerWeight}`,
    );
    assert(Math.abs(plan.outputBytes / summary.bytes - 1) < 1e-2, `${plan.outputBytes} ${summary.bytes}`);
    assertMatch(made.err, /daq-plus-levels-2b-g32-rows8\+embed:rtn-8b-g32/);
    const again = await run(...options);
    assertEquals([again.code, again.err.includes("it holds a checkpoint")], [1, true]);
  });
});

Deno.test("quantize: Ctrl-C finishes the linear at work, and the same command goes on to the same bytes", async () => {
  await inFolder(async (folder) => {
    const options = (out: string) => ["data/nano-llada", "--out", `${folder}/${out}`, ...small];
    assertEquals((await run(...options("whole"))).code, 0);
    const process = command(...options("stopped")).spawn();
    const linears = `${folder}/stopped/.quantizing/linears`;
    const count = async () => (await Array.fromAsync(Deno.readDir(linears)).catch(() => [])).length;
    while (await count() < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    process.kill("SIGINT");
    const { code, stderr } = await process.output();
    const said = new TextDecoder().decode(stderr);
    assertEquals(code, 130, said);
    assertStringIncludes(said, "the same command goes on");
    assertStringIncludes(said, "stopping at the next safe place");
    assertStringIncludes(said, "interrupted");
    const finished = await count();
    assert(finished >= 2 && finished < 14, `${finished} linears`);
    const resumed = await run(...options("stopped"));
    assertEquals(resumed.code, 0, resumed.err);
    assertEquals(await contents(`${folder}/stopped`), await contents(`${folder}/whole`));
  });
});

Deno.test("quantize --tune: by the model and block by block, at the bits of before; the card says what was tuned", async () => {
  await inFolder(async (folder) => {
    const base = ["--method", "rtn", "--group", "128", "--device", "cpu"],
      world = ["--calibration", "nanoworld", "--windows", "16"];
    const made = async (out: string, ...args: string[]) => {
      const { code, out: said, err } = await run("data/nano-llada", "--out", `${folder}/${out}`, ...base, ...args);
      assertEquals(code, 0, err);
      return { ...JSON.parse(said), err };
    };
    const plain = await made("plain", ...world);
    const model = await made("model", ...world, "--tune", "codes", "--tune-steps", "3", "--tune-batch", "4");
    const block = await made("block", ...world, ...[
      "--tune",
      "scales",
      "--tune-by",
      "block",
      "--tune-steps",
      "2",
      "--tune-batch",
      "2",
    ]);
    for (const { bitsPerWeight, bytes, err } of [model, block]) {
      assertEquals([bitsPerWeight, bytes], [plain.bitsPerWeight, plain.bytes]);
      assertMatch(err, /tuning .* s\n/);
    }
    assertMatch(model.err, /held out \d\.\d+, answers \d/);
    const card = await Deno.readTextFile(`${folder}/model/README.md`);
    assertStringIncludes(card, "codes and norms, 3 steps of 4 x 64 tokens of nanoworld-train");
    assertStringIncludes(await Deno.readTextFile(`${folder}/block/README.md`), "scales and norms, 2 steps a block");
    const file = await made("file", ...["--tune", "scales", "--tune-steps", "2", "--tune-batch", "2"], ...[
      ...[
        "--calibration",
        "data/nanoworld/calibration.jsonl",
        "--windows",
        "8",
        "--length",
        "48",
        "--tune-windows",
        "8",
      ],
    ]);
    assertMatch(file.method, /2x48-8-windows-of-calibration.jsonl/);
  });
});

Deno.test("quantize: wrong options are told in one line", async () => {
  await inFolder(async (folder) => {
    for (
      const [args, what] of [
        [["--method", "foo"], '--method is "foo", wanted one of levels, quant-dllm'],
        [["--embed-bits", "3"], '--embed-bits is "3"'],
        [["--row-scale-bits", "4"], '--row-scale-bits is "4"'],
        [["--preset", "huge"], '--preset is "huge"'],
        [["--preset", "toString"], '--preset is "toString"'],
        [["--tune", "signs"], '--tune is "signs", wanted one of off, scales, codes'],
        [["--tune", "codes", "--tune-by", "layer"], '--tune-by is "layer", wanted one of auto, model, block'],
        [["--calibration", `${folder}/none.txt`], "there is no such file"],
      ] as const
    ) {
      const { code, err } = await run("data/nano-llada", "--out", `${folder}/packed`, "--device", "cpu", ...args);
      assertEquals(code, what.startsWith("--") ? 2 : 1);
      assertStringIncludes(err, what);
      assert(!err.includes("    at "), err);
    }
    const { code, err } = await run("data/nano-llada", "--out", `${folder}/packed`, "--bitz", "2");
    assertEquals([code, err.includes("Unknown option '--bitz'")], [2, true]);
  });
});

Deno.test("a plan that does not fit is refused with both numbers", () => {
  const plan = { memoryBytes: 9e9, diskBytes: 7e9 };
  const check = (room: Plan["room"]) => checkRoom({ ...plan, room } as Plan, "x");
  check({ memoryBytes: 9e9, diskBytes: 7e9 });
  for (
    const [room, what] of [
      [{ memoryBytes: 8e9, diskBytes: 9e9 }, "9.00 GB of memory, 8.00 GB"],
      [{ memoryBytes: 10e9, diskBytes: 6e9 }, "7.00 GB of disk, 6.00 GB"],
    ] as const
  ) {
    assertThrows(() => check(room), RangeError, what);
  }
});

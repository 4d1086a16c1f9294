/** Faults that once stood unnoticed, as edits: what to find, what to put there, and the tests that must fail on it. */

export interface Edit {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly put: string;
  readonly tests: readonly string[];
}

export const planted: readonly Edit[] = [
  {
    name: "held-out windows leak into H",
    file: "lib/pipeline/moments.ts",
    find: "part.heldOut ? group.heldOut! : group.H",
    put: "group.H",
    tests: ["tests/pipeline/held_out_test.ts"],
  },
  {
    name: "held-out states never advance",
    file: "lib/pipeline/hidden.ts",
    find: "for (const [i, x] of states.entries()) states[i] = await step(x);",
    put: "for (const [i, x] of states.entries()) if (!slices.parts[i].heldOut) states[i] = await step(x);",
    tests: ["tests/pipeline/held_out_test.ts"],
  },
  {
    name: "a plan of 1 byte of memory",
    file: "lib/pipeline/plan.ts",
    find: "memoryBytes: Math.max(memory, Math.ceil(tuning.memoryBytes)),",
    put: "memoryBytes: 1,",
    tests: ["tests/pipeline/plan_test.ts"],
  },
  {
    name: "a plan of 1 byte of disk",
    file: "lib/pipeline/plan.ts",
    find: "diskBytes: packed ? ",
    put: "diskBytes: packed ? 1 : packed ? ",
    tests: ["tests/pipeline/plan_test.ts"],
  },
  {
    name: "a plan of 0 s",
    file: "lib/pipeline/plan.ts",
    find: "totalSeconds: a.layers * (calibration + perBlock) + outsideSeconds + tuning.seconds,",
    put: "totalSeconds: 0,",
    tests: ["tests/pipeline/plan_test.ts"],
  },
  {
    name: "bits per parameter x 10",
    file: "lib/pipeline/disk/packed_folder.ts",
    find: "bitsPerParameter: 8 * bytes / parameters",
    put: "bitsPerParameter: 80 * bytes / parameters",
    tests: ["tests/pipeline/summary_test.ts"],
  },
  {
    name: "no fallback is ever counted",
    file: "lib/pipeline/disk/packed_folder.ts",
    find: "fallbacks: reports.filter(({ report }) => report.fallback ?? report.calibrationFallback).length",
    put: "fallbacks: 0",
    tests: ["tests/pipeline/summary_test.ts"],
  },
  {
    name: "an empty model card",
    file: "lib/pipeline/disk/packed_folder.ts",
    find: 'await text("README.md", modelCard({ ...card, tuning: rows }));',
    put: 'await text("README.md", "");',
    tests: ["tests/pipeline/summary_test.ts"],
  },
  {
    name: "verdicts at 20 standard errors",
    file: "lib/evaluate/compare.ts",
    find: "const half = studentQuantile(0.975, degrees) * standardError;",
    put: "const half = 20 * standardError;",
    tests: ["tests/evaluate/compare_test.ts"],
  },
  {
    name: "one colour for all bars",
    file: "lib/report/look.ts",
    find: "const free = others.find((color) => !used.has(color));",
    put: "const free = others[0];",
    tests: ["tests/report/look_test.ts"],
  },
  {
    name: "embedding and head without an error",
    file: "lib/pipeline/outside.ts",
    find: "relativeError: error / power,",
    put: "relativeError: 0,",
    tests: ["tests/pipeline/summary_test.ts"],
  },
];

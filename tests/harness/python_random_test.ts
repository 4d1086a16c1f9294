/** Python's random numbers: against what Python 3.11 printed, and against the Python that is here. */
import { assertEquals, assertThrows } from "@std/assert";
import { pythonRandom } from "../../lib/harness/python_random.ts";
import { python, pythonPrints } from "./python.ts";

// Printed by Python 3.11.2: r = random.Random(seed); three r.getrandbits(32), r.sample(range(20), 5), r.sample(range(1000), 5),
// r.sample(range(100), 8), x = list(range(8)) after r.shuffle(x), r.getrandbits(7).
// deno-fmt-ignore
const printed: readonly (readonly [number, number[], number[], number[], number[], number[], number])[] = [
  [0, [3626764237, 1654615998, 3255389356], [13, 1, 8, 16, 15], [414, 940, 802, 849, 310],
    [61, 45, 74, 27, 64, 17, 36, 96], [5, 0, 3, 7, 6, 2, 4, 1], 93],
  [42, [2746317213, 478163327, 107420369], [8, 7, 18, 4, 3], [692, 758, 913, 558, 89],
    [75, 54, 4, 3, 11, 27, 29, 64], [2, 5, 7, 3, 6, 1, 4, 0], 75],
  [1234, [4150886329, 3342196574, 1892932127], [3, 0, 2, 1, 17], [100, 784, 363, 242, 17],
    [3, 2, 44, 82, 79, 61, 78, 59], [3, 5, 7, 4, 6, 1, 0, 2], 112],
  [4294967296, [485306839, 1508871100, 1794561286], [0, 19, 10, 14, 18], [141, 77, 838, 962, 979],
    [55, 64, 40, 43, 94, 48, 61, 59], [6, 3, 4, 1, 7, 0, 5, 2], 45],
  [9007199254740991, [404802386, 2407860725, 957238923], [6, 4, 3, 17, 0], [492, 458, 35, 275, 428],
    [4, 41, 52, 94, 64, 19, 76, 27], [7, 0, 2, 6, 4, 1, 5, 3], 100],
];

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

Deno.test("bits, samples of both kinds and shuffles are those of Python", () => {
  for (const [seed, words, fromPool, fromSet, fromLarger, shuffled, bits] of printed) {
    const r = pythonRandom(seed);
    assertEquals(words.map(() => r.bits(32)), words);
    assertEquals(r.sample(upTo(20), 5), fromPool);
    assertEquals(r.sample(upTo(1000), 5), fromSet);
    assertEquals(r.sample(upTo(100), 8), fromLarger);
    assertEquals(r.shuffle(upTo(8)), shuffled);
    assertEquals(r.bits(7), bits);
  }
});

if (!python) console.log("SKIPPED random numbers against Python: install python3");
Deno.test({
  name: "and over many seeds and sizes, with the Python that is here",
  ignore: !python,
  fn() {
    const cases = upTo(300).map((i) => ({ seed: i * i * 7919 - 1234, n: 1 + i * 13 % 97 + (i % 5 === 0 ? 900 : 0) }));
    const draws = cases.map(({ seed, n }) => [seed, n, Math.min(n, 1 + (seed % 11) ** 2)]);
    const theirs = pythonPrints(`
import json, random
out = []
for seed, n, k in json.loads(${JSON.stringify(JSON.stringify(draws))}):
    r = random.Random(seed)
    x = list(range(n))
    out.append([r.sample(x, k), r.sample(x, k), r.getrandbits(31)])
    r.shuffle(x)
    out.append([x, r.randrange(n)])
print(json.dumps(out))`);
    const ours = draws.flatMap(([seed, n, k]) => {
      const r = pythonRandom(seed);
      const x = upTo(n);
      return [[r.sample(x, k), r.sample(x, k), r.bits(31)], [r.shuffle(x), r.below(n)]];
    });
    assertEquals(ours, theirs);
  },
});

Deno.test("the outputs go on after the state has been twisted", () => {
  const r = pythonRandom(5489);
  const first = upTo(2000).map(() => r.bits(32));
  assertEquals(new Set(first).size, 2000);
  const again = pythonRandom(5489);
  assertEquals(upTo(2000).map(() => again.bits(32)), first);
});

Deno.test("what cannot be drawn is refused", () => {
  assertThrows(() => pythonRandom(0.5), RangeError, "Cannot seed Python's generator with 0.5");
  assertThrows(() => pythonRandom(1).sample([1, 2], 3), RangeError, "Cannot sample 3 of 2");
  assertThrows(() => pythonRandom(1).below(0), RangeError, "Cannot draw an integer below 0");
});

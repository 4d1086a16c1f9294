import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { studentQuantile, studentTail } from "../../lib/evaluate/student.ts";
import { STUDENT_RELATIVE } from "../tolerances.ts";

const near = (found: number, wanted: number, relative = STUDENT_RELATIVE) =>
  assert(Math.abs(found - wanted) <= relative * Math.abs(wanted), `${found}, wanted ${wanted}`);

Deno.test("Student's t: the quantiles of the tables (scipy.stats.t.ppf 1.17.1, whole and broken degrees)", () => {
  const tables: [number, number[]][] = [
    [3, [1.637744353696209, 3.1824463052837078, 5.840909309733355, 22.203742273205]],
    [5, [1.4758840488244815, 2.5705818356363146, 4.032142983555228, 9.677566300882814]],
    [6.5, [1.4262859554505227, 2.4020020079102764, 3.5931239959839543, 7.486928276387916]],
    [9, [1.3830287383966329, 2.262157162798205, 3.249835541592126, 6.010132129081531]],
    [30, [1.3104150253913955, 2.0422724563012378, 2.7499956535672254, 4.23398595727206]],
    [100, [1.290074761346516, 1.9839715185235518, 2.6258905214380173, 3.861599790950091]],
    [1000.25, [1.282398509582099, 1.9623384864941926, 2.580753464811418, 3.732848135172689]],
    [1e6, [1.281552412129939, 1.959966356814107, 2.5758342201053344, 3.719030274762571]],
  ];
  for (const [degrees, wanted] of tables) {
    [0.9, 0.975, 0.995, 0.9999].forEach((p, i) => near(studentQuantile(p, degrees), wanted[i]));
  }
});

Deno.test("Student's t: its closed forms for one, two and four degrees of freedom", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 0.999, noNaN: true }), (p) => {
      const bend = 4 * p * (1 - p), side = 2 * p - 1;
      if (Math.abs(side) < 1e-3) return;
      near(studentQuantile(p, 1), Math.tan(Math.PI * side / 2));
      near(studentQuantile(p, 2), side * Math.sqrt(2 / bend));
      const q = Math.cos(Math.acos(Math.sqrt(bend)) / 3) / Math.sqrt(bend);
      near(studentQuantile(p, 4), Math.sign(side) * 2 * Math.sqrt(q - 1));
    }),
    { seed: 1, numRuns: 300 },
  );
});

Deno.test("Student's t: quantile and tail undo each other, and the tail is one half at zero", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.501, max: 0.9999, noNaN: true }),
      fc.double({ min: 0.5, max: 5000, noNaN: true }),
      (p, degrees) => {
        const t = studentQuantile(p, degrees);
        near(studentTail(t, degrees), 1 - p);
        near(studentQuantile(1 - p, degrees), -t);
      },
    ),
    { seed: 2, numRuns: 300 },
  );
  assertEquals([studentTail(0, 3), studentQuantile(0.5, 3)], [0.5, 0]);
  for (const p of [0, 1, NaN]) assertThrows(() => studentQuantile(p, 4), RangeError, "between 0 and 1");
  for (const degrees of [0, -1, NaN, Infinity]) {
    assertThrows(() => studentQuantile(0.9, degrees), RangeError, "degrees of freedom");
  }
  assertThrows(() => studentTail(-1, 4), RangeError, "wanted t >= 0");
});

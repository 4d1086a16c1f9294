/**
 * The plain loops of `rsr.ts` and `signs.ts` for two planes, written out two rows at a time: the same sums in the same order, bit for bit, but that the
 * losses of even and of odd rows are added up apart. The hot paths of every fit: sums of one row wait for each other, and calls for each weight would
 * take as long again.
 */
import { defineRows } from "../../tensor/row_loop.ts";
import { CHUNK, type InTurnArgs, type RescaleArgs } from "./group.ts";
import { keepSums } from "./rsr.ts";

/** Eq. 8 and the sums of Eq. 9, the signs chosen jointly or left alone. */
function rescaleTwo(args: RescaleArgs, start: number, end: number): void {
  const { rows, width, x, codes, rowScale, colScale, columnWeight, salient, salientWeight, plane } = args;
  const { epsilon, partial } = args;
  const joint = args.recode === "joint", other = 1 - plane, anySalient = salient.length > 0;
  const leftA = new Float64Array(width), leftB = new Float64Array(width);
  const omegaA = Float64Array.from(columnWeight), omegaB = Float64Array.from(columnWeight);
  const above = new Float64Array(width), below = new Float64Array(width);
  const c0 = colScale.slice(0, width), c1 = colScale.slice(width, 2 * width);
  const c = plane === 0 ? c0 : c1, d = plane === 0 ? c1 : c0;
  // omega_j of a weight that is not salient, of one that is, and of the row that stands in for the missing half of the last pair.
  const weight = new Float64Array(4 * width);
  for (let j = 0; j < width; j++) {
    weight[j] = columnWeight[j];
    weight[width + j] = columnWeight[j] * salientWeight;
  }
  for (let chunk = start; chunk < end; chunk++) {
    const last = Math.min(rows, (chunk + 1) * CHUNK);
    above.fill(0);
    below.fill(0);
    let lossA = 0, lossB = 0;
    for (let i = chunk * CHUNK; i < last; i += 2) {
      const alone = i + 1 === last, next = alone ? i : i + 1;
      const atA = i * width, atB = next * width;
      if (joint) {
        // `nearestCode`, written out.
        const r0A = rowScale[i], r1A = rowScale[rows + i], r0B = rowScale[next], r1B = rowScale[rows + next];
        for (let j = 0; j < width; j++) {
          const u = c0[j], v = c1[j];
          const xA = x[atA + j], aA = r0A * u, bA = r1A * v;
          const pA = Math.abs(aA), qA = Math.abs(bA), yA = Math.abs(xA);
          const codeA = pA >= qA ? 1 | +(yA > pA) << 1 : 2 | +(yA > qA);
          codes[atA + j] = codeA ^ (-+(xA <= 0) & 3) ^ +(aA < 0) ^ +(bA < 0) << 1;
          const xB = x[atB + j], aB = r0B * u, bB = r1B * v;
          const pB = Math.abs(aB), qB = Math.abs(bB), yB = Math.abs(xB);
          const codeB = pB >= qB ? 1 | +(yB > pB) << 1 : 2 | +(yB > qB);
          codes[atB + j] = codeB ^ (-+(xB <= 0) & 3) ^ +(aB < 0) ^ +(bB < 0) << 1;
        }
      }
      if (anySalient || alone) {
        const ghost = alone ? 2 : 0;
        for (let j = 0; j < width; j++) {
          omegaA[j] = weight[(anySalient ? salient[atA + j] : 0) * width + j];
          omegaB[j] = weight[(anySalient ? salient[atB + j] + ghost : ghost) * width + j];
        }
      }
      const qA = rowScale[other * rows + i], qB = rowScale[other * rows + next];
      let overA = 0, underA = 0, overB = 0, underB = 0;
      for (let j = 0; j < width; j++) {
        const codeA = codes[atA + j], codeB = codes[atB + j], cj = c[j], dj = d[j];
        const restA = x[atA + j] - (((codeA >> other) & 1) * 2 - 1) * qA * dj;
        const restB = x[atB + j] - (((codeB >> other) & 1) * 2 - 1) * qB * dj;
        const signedA = (((codeA >> plane) & 1) * 2 - 1) * restA, signedB = (((codeB >> plane) & 1) * 2 - 1) * restB;
        const wA = omegaA[j] * cj, wB = omegaB[j] * cj;
        leftA[j] = signedA;
        leftB[j] = signedB;
        overA += wA * signedA;
        underA += wA * cj;
        overB += wB * signedB;
        underB += wB * cj;
      }
      const rA = overA / (underA + epsilon), rB = overB / (underB + epsilon);
      rowScale[plane * rows + next] = rB;
      rowScale[plane * rows + i] = rA;
      for (let j = 0; j < width; j++) {
        const wA = omegaA[j], wB = omegaB[j], signedA = leftA[j], signedB = leftB[j];
        above[j] = above[j] + wA * rA * signedA + wB * rB * signedB;
        below[j] = below[j] + wA * rA * rA + wB * rB * rB;
        lossA += wA * signedA * signedA;
        lossB += wB * signedB * signedB;
      }
    }
    keepSums(partial, { chunk, above, below, loss: lossA + lossB });
  }
}

export const rescaleTwoLoop = defineRows({
  name: "two.rescale",
  module: import.meta.url,
  writes: ["codes", "rowScale", "partial"],
  run: rescaleTwo,
});

/** Signs column by column; a pass over U serves both rows. */
function inTurnTwo(args: InTurnArgs, start: number, end: number): void {
  const { rows, width, x, codes, rowScale, colScale, U, old } = args;
  const wA = new Float64Array(width), wB = new Float64Array(width);
  const freshA = new Uint8Array(width), freshB = new Uint8Array(width);
  const errorsA = new Float64Array(4), errorsB = new Float64Array(4);
  const c0 = colScale.slice(0, width), c1 = colScale.slice(width);
  const last = Math.min(rows, end * CHUNK);
  for (let i = start * CHUNK; i < last; i += 2) {
    // A last row without a partner goes with itself.
    const next = Math.min(i + 1, last - 1), atA = i * width, atB = next * width;
    const r0A = rowScale[i], r1A = rowScale[rows + i], r0B = rowScale[next], r1B = rowScale[rows + next];
    let lossA = 0, lossB = 0;
    for (let j = 0; j < width; j++) {
      wA[j] = x[atA + j];
      wB[j] = x[atB + j];
    }
    for (let first = 0; first < width; first += 4) {
      const stop = Math.min(first + 4, width);
      for (let j = first; j < stop; j++) {
        const u = c0[j], v = c1[j], pivot = U[j * width + j];
        const valueA = wA[j], aA = r0A * u, bA = r1A * v;
        const pA = Math.abs(aA), qA = Math.abs(bA), yA = Math.abs(valueA);
        const codeA = (pA >= qA ? 1 | +(yA > pA) << 1 : 2 | +(yA > qA)) ^ (-+(valueA <= 0) & 3) ^ +(aA < 0) ^
          +(bA < 0) << 1;
        const errorA = (valueA - (((codeA & 1) * 2 - 1) * aA + ((codeA & 2) - 1) * bA)) / pivot;
        const valueB = wB[j], aB = r0B * u, bB = r1B * v;
        const pB = Math.abs(aB), qB = Math.abs(bB), yB = Math.abs(valueB);
        const codeB = (pB >= qB ? 1 | +(yB > pB) << 1 : 2 | +(yB > qB)) ^ (-+(valueB <= 0) & 3) ^ +(aB < 0) ^
          +(bB < 0) << 1;
        const errorB = (valueB - (((codeB & 1) * 2 - 1) * aB + ((codeB & 2) - 1) * bB)) / pivot;
        freshA[j] = codeA;
        freshB[j] = codeB;
        lossA += errorA * errorA;
        lossB += errorB * errorB;
        for (let p = j + 1; p < stop; p++) {
          const f = U[j * width + p];
          wA[p] -= errorA * f;
          wB[p] -= errorB * f;
        }
        errorsA[j - first] = errorA;
        errorsB[j - first] = errorB;
      }
      const row0 = first * width, row1 = row0 + width, row2 = row1 + width, row3 = row2 + width;
      const a0 = errorsA[0], a1 = errorsA[1], a2 = errorsA[2], a3 = errorsA[3];
      const b0 = errorsB[0], b1 = errorsB[1], b2 = errorsB[2], b3 = errorsB[3];
      for (let p = stop; p < width; p++) {
        const u0 = U[row0 + p], u1 = U[row1 + p], u2 = U[row2 + p], u3 = U[row3 + p];
        wA[p] = wA[p] - a0 * u0 - a1 * u1 - a2 * u2 - a3 * u3;
        wB[p] = wB[p] - b0 * u0 - b1 * u1 - b2 * u2 - b3 * u3;
      }
    }
    if (lossA < old[i]) codes.set(freshA, atA);
    if (lossB < old[next]) codes.set(freshB, atB);
  }
}

export const inTurnTwoLoop = defineRows({
  name: "two.inTurn",
  module: import.meta.url,
  writes: ["codes"],
  run: inTurnTwo,
});

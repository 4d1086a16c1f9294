/** k-means with a seed: the same centres on every machine. */
import { rng } from "./rng.ts";

export interface Clusters {
  /** `[count, width]`. */
  readonly centres: Float64Array;
  /** The centre of each vector. */
  readonly assigned: Int32Array;
}

export interface ClusterOptions {
  readonly count: number;
  readonly seed: number;
  readonly rounds?: number;
}

/**
 * Lloyd's iterations over `vectors` `[n, width]`, from vectors drawn far from each other (k-means++). A centre that loses all its vectors keeps its value. With
 * no more vectors than centres each vector is one, and there are as many centres as vectors.
 */
export function kMeans(vectors: Float64Array, width: number, { count, seed, rounds = 25 }: ClusterOptions): Clusters {
  const n = vectors.length / width;
  if (n <= count) return { centres: vectors.slice(), assigned: Int32Array.from({ length: n }, (_, v) => v) };
  const centres = spread(vectors, width, { count, seed });
  const assigned = new Int32Array(n), sums = new Float64Array(count * width), sizes = new Int32Array(count);
  for (let round = 0; round < rounds; round++) {
    const moved = assign(vectors, centres, width, assigned);
    if (moved === 0 && round > 0) break;
    sums.fill(0);
    sizes.fill(0);
    for (let v = 0; v < n; v++) {
      sizes[assigned[v]]++;
      for (let k = 0; k < width; k++) sums[assigned[v] * width + k] += vectors[v * width + k];
    }
    for (let c = 0; c < count; c++) {
      if (sizes[c] === 0) continue;
      for (let k = 0; k < width; k++) centres[c * width + k] = sums[c * width + k] / sizes[c];
    }
  }
  assign(vectors, centres, width, assigned);
  return { centres, assigned };
}

/** Gives each vector its nearest centre; gives the number that changed. */
export function assign(vectors: Float64Array, centres: Float64Array, width: number, assigned: Int32Array): number {
  const count = centres.length / width;
  let moved = 0;
  for (let v = 0; v < assigned.length; v++) {
    let least = Infinity, best = 0;
    for (let c = 0; c < count; c++) {
      let sum = 0;
      for (let k = 0, a = v * width, b = c * width; k < width && sum < least; k++) {
        sum += (vectors[a + k] - centres[b + k]) ** 2;
      }
      if (sum < least) [least, best] = [sum, c];
    }
    if (assigned[v] !== best) moved++;
    assigned[v] = best;
  }
  return moved;
}

function spread(vectors: Float64Array, width: number, { count, seed }: ClusterOptions): Float64Array {
  const random = rng(seed, "k-means", count), n = vectors.length / width;
  const centres = new Float64Array(count * width), far = new Float64Array(n).fill(Infinity);
  for (let c = 0, chosen = random.int(n); c < count; c++) {
    centres.set(vectors.subarray(chosen * width, (chosen + 1) * width), c * width);
    let total = 0;
    for (let v = 0; v < n; v++) {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += (vectors[v * width + k] - centres[c * width + k]) ** 2;
      total += far[v] = Math.min(far[v], sum);
    }
    let left = random.next() * total;
    chosen = 0;
    while (chosen < n - 1 && (left -= far[chosen]) > 0) chosen++;
  }
  return centres;
}

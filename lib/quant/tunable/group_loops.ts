/** The loops over the weights of a group of the forms `binary` and `levels` in motion. */
import type { Latents, Scales } from "./tunable.ts";

/** A group of columns: where it lies, its codes, and where its scales begin. */
export interface Group {
  readonly start: number;
  readonly width: number;
  readonly order: number;
  /** Planes with scales of their own. */
  readonly planes: number;
  /** u of each code and plane, `[2^order, planes]`. */
  readonly units: Float64Array;
  /** `[rows, width]`. */
  readonly codes: Uint8Array;
  /** Row scales of plane k begin at row + k · rows, column scales at column + k · width. */
  readonly row: number;
  readonly column: number;
}

/** The scales of a linear, `[...]` float32, and its shape: what the loops read. */
export interface Settled {
  readonly a: Float32Array;
  readonly c: Float32Array;
  readonly rows: number;
  readonly cols: number;
}

/** Writes what a group decodes to into W. */
export function decode(
  { start, width, planes, units, codes, row, column }: Group,
  { W, a, c, rows, cols }: Settled & { readonly W: Float32Array },
): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j++) {
      const unit = codes[i * width + j] * planes;
      let sum = 0;
      for (let k = 0; k < planes; k++) sum += units[unit + k] * (a[row + k * rows + i] * c[column + k * width + j]);
      W[i * cols + start + j] = sum;
    }
  }
}

/**
 * Moves the codes of a group of one plane to the levels nearest to their latents, which are kept in reach, and decodes it; gives how many changed. Levels
 * lie 2 |a c| apart: most codes stay, and are seen to by one comparison.
 */
export function followLevels(
  { start, width, units, codes, row, column }: Group,
  { W, latents, reach, a, c, rows, cols }: Settled & Latents & { readonly W: Float32Array },
): number {
  const top = units.length - 1, far = reach * units[top];
  let changed = 0;
  for (let i = 0; i < rows; i++) {
    const scale = a[row + i];
    for (let j = 0, at = i * cols + start, own = i * width; j < width; j++, at++, own++) {
      const step = scale * c[column + j], half = Math.abs(step), w = latents[at];
      let level = units[codes[own]] * step;
      if (!(Math.abs(w - level) <= half)) {
        const old = codes[own];
        let best = old, distance = Math.abs(w - level);
        for (let code = 0; code <= top; code++) {
          const off = Math.abs(w - units[code] * step);
          if (off >= distance) continue;
          distance = off;
          best = code;
        }
        if (best !== old) {
          codes[own] = best;
          level = units[best] * step;
          changed++;
        }
      }
      if (Math.abs(w) > far * half) latents[at] = Math.sign(w) * far * half;
      W[at] = level;
    }
  }
  return changed;
}

/** Moves the codes of a group to the levels nearest to their latents, which are kept in reach; gives how many changed. */
export function follow(group: Group, { latents, reach, a, c, rows, cols }: Settled & Latents): number {
  const { start, width, planes, units, codes, row, column } = group;
  const count = units.length / planes, parts = new Float64Array(planes);
  let changed = 0;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j++) {
      const at = i * cols + start + j, old = codes[i * width + j], w = latents[at];
      for (let k = 0; k < planes; k++) parts[k] = a[row + k * rows + i] * c[column + k * width + j];
      let low = Infinity, high = -Infinity, best = old, distance = Infinity;
      for (let code = 0, unit = 0; code < count; code++) {
        let level = 0;
        for (let k = 0; k < planes; k++, unit++) level += units[unit] * parts[k];
        if (level < low) low = level;
        if (level > high) high = level;
        const off = Math.abs(w - level);
        if (off < distance || (off === distance && code === old)) {
          distance = off;
          best = code;
        }
      }
      latents[at] = Math.min(reach * high, Math.max(reach * low, w));
      if (best === old) continue;
      codes[i * width + j] = best;
      changed++;
    }
  }
  return changed;
}

/** Writes the gradients of the scales of a group; no other group shares them. */
export function addGradients(
  { start, width, planes, units, codes, row, column }: Group,
  { G, a, c, rows, cols, into }: Settled & { readonly G: Float32Array; readonly into: Scales },
): void {
  const da = into.row_scale, dc = into.col_scale;
  for (let k = 0; k < planes; k++) {
    const columns = new Float64Array(width);
    for (let i = 0; i < rows; i++) {
      const scale = a[row + k * rows + i];
      let sum = 0;
      for (let j = 0; j < width; j++) {
        const g = G[i * cols + start + j] * units[codes[i * width + j] * planes + k];
        sum += g * c[column + k * width + j];
        columns[j] += g * scale;
      }
      da[row + k * rows + i] = sum;
    }
    dc.set(columns, column + k * width);
  }
}

/** Positions on an axis: linear, logarithmic or by category, with ticks a reader would choose. */

export interface Tick {
  /** Pixels. */
  readonly at: number;
  readonly label: string;
}

/** A map from values to pixels. */
export interface Scale {
  /** Pixels of a value; NaN for an unknown category or, on a log axis, a value that is not positive. */
  map(value: string | number): number;
  readonly ticks: readonly Tick[];
  /** Pixels between neighbouring categories, 0 on a numeric axis. */
  readonly band: number;
}

/** Round numbers from `lo` to `hi`, about `count` of them: multiples of 1, 2, 2.5 or 5 times a power of ten. */
export function niceTicks(lo: number, hi: number, count: number): number[] {
  if (!(hi > lo) || !Number.isFinite(hi - lo)) return [lo];
  const step = niceStep((hi - lo) / Math.max(1, count));
  const first = Math.ceil(lo / step - 1e-9);
  const last = Math.floor(hi / step + 1e-9);
  // toPrecision removes the noise of the product: 3 * 0.1 is not 0.3
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)) + 0);
}

function niceStep(raw: number): number {
  const power = 10 ** Math.floor(Math.log10(raw));
  const factor = [1, 2, 2.5, 5, 10].find((f) => raw <= f * power * (1 + 1e-9)) ?? 10;
  return factor * power;
}

/** A linear scale from values [lo, hi] to pixels [from, to]. */
export function linearScale(lo: number, hi: number, from: number, to: number, count: number): Scale {
  const map = (value: string | number) => from + (Number(value) - lo) / (hi - lo) * (to - from);
  const values = niceTicks(lo, hi, count);
  return { map, band: 0, ticks: labelled(values).map(({ value, label }) => ({ at: map(value), label })) };
}

/**
 * A log scale; `lo` and `hi` are positive values. Ticks at 1, 2, 5 per decade where there is room, else at powers of
 * ten.
 */
export function logScale(lo: number, hi: number, from: number, to: number, count: number): Scale {
  const [a, b] = [Math.log10(lo), Math.log10(hi)];
  const map = (value: string | number) =>
    Number(value) > 0 ? from + (Math.log10(Number(value)) - a) / (b - a) * (to - from) : NaN;
  const decades: number[] = [];
  for (let p = Math.floor(a); p <= Math.ceil(b); p++) decades.push(p);
  const inside = (value: number) => value >= lo * (1 - 1e-9) && value <= hi * (1 + 1e-9);
  const at = (factors: readonly number[]) =>
    decades.flatMap((p) => factors.map((f) => Number((f * 10 ** p).toPrecision(6)))).filter(inside);
  let values = at([1, 2, 5]);
  if (values.length > count * 1.5) values = at([1]);
  if (values.length > count * 1.5) values = values.filter((_, i) => i % Math.ceil(values.length / count) === 0);
  if (values.length < 3) values = niceTicks(lo, hi, count).filter((v) => v > 0);
  return { map, band: 0, ticks: values.map((value) => ({ at: map(value), label: shortNumber(value) })) };
}

/** A band per category, in the order given. */
export function categoryScale(categories: readonly (string | number)[], from: number, to: number): Scale {
  const index = new Map(categories.map((category, i) => [String(category), i]));
  const band = (to - from) / Math.max(1, categories.length);
  const map = (value: string | number) => from + ((index.get(String(value)) ?? NaN) + 0.5) * band;
  return {
    map,
    band: Math.abs(band),
    ticks: categories.map((category) => ({ at: map(category), label: String(category) })),
  };
}

/** A number as short as it is exact to six digits. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) {
    return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return String(Number(value.toPrecision(6)) + 0);
}

/**
 * The ticks' labels: all in one unit (k, M, G from ten thousand on), or all with as many decimals as the one that
 * needs most.
 */
function labelled(values: readonly number[]): { value: number; label: string }[] {
  const largest = Math.max(...values.map(Math.abs));
  const [unit, suffix] =
    ([[1e9, "G"], [1e6, "M"], [1e3, "k"]] as const).find(([u]) => largest >= u * (u === 1e3 ? 10 : 1)) ?? [1, ""];
  if (suffix && largest < 1e15) {
    return values.map((value) => ({ value, label: value === 0 ? "0" : shortNumber(value / unit) + suffix }));
  }
  const plain = values.map((value) => ({ value, label: shortNumber(value) }));
  if (plain.some(({ label }) => label.includes("e"))) return plain;
  const decimals = Math.max(...plain.map(({ label }) => label.split(".")[1]?.length ?? 0));
  return values.map((value) => ({ value, label: value.toFixed(decimals) }));
}

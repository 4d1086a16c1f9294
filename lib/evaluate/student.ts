/** Student's t distribution, for intervals from few seeds. */

/**
 * The t with P(T <= t) = p, for p in (0, 1) and `degrees` of freedom, which need not be whole. Good to nine digits up to a million degrees. Throws
 * `RangeError` outside.
 */
export function studentQuantile(p: number, degrees: number): number {
  if (!(p > 0 && p < 1)) throw new RangeError(`Cannot invert Student's t at p = ${p}: wanted a number between 0 and 1`);
  if (p < 0.5) return -studentQuantile(1 - p, degrees);
  // The upper tail is convex, so Newton's steps from 0 never pass the root and end when rounding stops them.
  let t = 0;
  for (;;) {
    const step = (studentTail(t, degrees) - (1 - p)) / density(t, degrees);
    if (!(step > 1e-14 * t)) return t;
    t += step;
  }
}

/** P(T > t) for t >= 0: I_x(degrees / 2, 1 / 2) / 2 with x = degrees / (degrees + t²) (Abramowitz and Stegun 26.7.1). */
export function studentTail(t: number, degrees: number): number {
  if (!(degrees > 0 && degrees < Infinity)) {
    throw new RangeError(`Cannot use Student's t with ${degrees} degrees of freedom: wanted a positive number`);
  }
  if (!(t >= 0 && t < Infinity)) {
    throw new RangeError(`Cannot take the upper tail of Student's t at ${t}: wanted t >= 0`);
  }
  const a = degrees / 2, b = 0.5;
  const x = degrees / (degrees + t * t), y = t * t / (degrees + t * t);
  const front = Math.exp(a * Math.log(x) + logGamma(a + b) - logGamma(a)) * Math.sqrt(y / Math.PI);
  // The fraction converges fast on one side of the mode; the other side is that of 1 - x.
  if (x < (a + 1) / (a + b + 2)) return front * betaFraction(x, a, b) / a / 2;
  return (1 - front * betaFraction(y, b, a) / b) / 2;
}

function density(t: number, degrees: number): number {
  const log = logGamma((degrees + 1) / 2) - logGamma(degrees / 2) - (degrees + 1) / 2 * Math.log1p(t * t / degrees);
  return Math.exp(log) / Math.sqrt(degrees * Math.PI);
}

/** The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method. */
function betaFraction(x: number, a: number, b: number): number {
  let c = 1, d = 1 / (1 - (a + b) * x / (a + 1)), value = d;
  for (let m = 1;; m++) {
    const even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / (1 + even * d);
    c = 1 + even / c;
    value *= d * c;
    const odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + odd * d);
    c = 1 + odd / c;
    value *= d * c;
    if (Math.abs(d * c - 1) < 1e-14) return value;
  }
}

/** log Γ(x) for x > 0 by Stirling's series (DLMF 5.11.1), from x + k >= 10 down by Γ(x) = Γ(x + 1) / x. */
function logGamma(x: number): number {
  let product = 1;
  for (; x < 10; x++) product *= x;
  const z = 1 / (x * x);
  const series = (1 / 12 - z * (1 / 360 - z * (1 / 1260 - z * (1 / 1680 - z * (1 / 1188 - z * 691 / 360360))))) / x;
  return (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + series - Math.log(product);
}

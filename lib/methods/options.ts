/** Options that methods with uniform grids share. */

export interface UniformOptions {
  /** Bits per code, 1 to 8. */
  readonly bits: number;
  /** Columns that share a scale and a zero point; a whole row without it. */
  readonly group?: number;
  /** Zero point fixed at the middle code, and not stored. */
  readonly symmetric?: boolean;
  /** Search a smaller range for less error. */
  readonly clip?: boolean;
}

/** Checks the options. Throws `RangeError` for bits outside 1 to 8 or a group that is not a positive integer. */
export function checkUniform(method: string, { bits, group }: UniformOptions): void {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8) {
    throw new RangeError(`Cannot make ${method}: bits is ${bits}, wanted an integer from 1 to 8`);
  }
  if (group !== undefined) checkPositive(method, { group });
}

/** Throws `RangeError` unless all values, by the names of their options, are positive integers. */
export function checkPositive(method: string, values: Readonly<Record<string, number>>): void {
  for (const [what, value] of Object.entries(values)) {
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`Cannot make ${method}: ${what} is ${value}, wanted a positive integer`);
    }
  }
}

/** The canonical name: the method, its grid, and each further part that is a string. */
export function methodName(
  method: string,
  { bits, group, symmetric, clip }: UniformOptions,
  ...parts: (string | false)[]
): string {
  return [method, `${bits}b`, group !== undefined && `g${group}`, symmetric && "sym", clip && "clip", ...parts]
    .filter(Boolean).join("-");
}

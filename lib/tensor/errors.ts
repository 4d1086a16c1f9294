/** The one domain error: a computation met numbers it cannot go on with (a second moment that is not positive definite, a loss that is not finite). */
export class NumericalError extends Error {
  override readonly name = "NumericalError";
}

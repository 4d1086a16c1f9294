/** The domain error: a computation met numbers it cannot go on with (a second moment that is not positive definite, a loss that is not finite). */
export class NumericalError extends Error {
  override readonly name = "NumericalError";
}

/** A scale that the type it is stored in cannot hold. Whoever knows the linear names it. */
export class ScaleOverflow extends RangeError {
  override readonly name = "ScaleOverflow";

  constructor(readonly scale: number) {
    super(`a scale of ${scale} is beyond fp16, wanted at most 65504`);
  }
}

/**
 * Row loops: work that treats every row of a matrix by itself, exported by a module so that a worker thread can find it. A loop computes a row from its arguments
 * and nothing else, so that the result does not depend on how rows are shared out between threads.
 */

export type RowArray = Float32Array | Float64Array | Uint8Array | Uint16Array | Uint32Array | Int32Array;
export type RowArgs = Readonly<Record<string, RowArray | number | boolean | string | undefined>>;

export interface RowLoop<A extends RowArgs = RowArgs> {
  /** Unique among the loops of its module. */
  readonly name: string;
  /** `import.meta.url` of the module that exports the loop: a worker imports it. Its imports must stay free of side effects. */
  readonly module: string;
  /** The arrays of the arguments that `run` writes; all others are only read. */
  readonly writes: readonly (keyof A & string)[];
  /** Rows [rowStart, rowEnd). Must write only what belongs to these rows. */
  readonly run: (args: A, rowStart: number, rowEnd: number) => void;
}

/** The loop as it is given, its arguments typed. The module must export it: there a worker looks for it (`exportedLoop`). */
export function defineRows<A extends RowArgs>(loop: RowLoop<A>): RowLoop<A> {
  return loop;
}

/** The loop of that name among `exports`, what its module exports. Throws `TypeError` when it is not there. */
export function exportedLoop(
  exports: Readonly<Record<string, unknown>>,
  { name, module }: { readonly name: string; readonly module: string },
): RowLoop {
  for (const value of Object.values(exports) as (Partial<RowLoop> | null | undefined)[]) {
    if (value?.name === name && value.module === module) return value as RowLoop;
  }
  throw new TypeError(
    `Cannot run the row loop "${name}": ${module} does not export it; write "export const" before it`,
  );
}

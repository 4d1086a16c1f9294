/**
 * Row loops: work that treats every row of a matrix by itself, named so that a worker thread can find it. A loop computes a row from its arguments
 * and nothing else, so that the result does not depend on how rows are shared out between threads.
 */

export type RowArray = Float32Array | Float64Array | Uint8Array | Uint16Array | Uint32Array | Int32Array;
export type RowArgs = Readonly<Record<string, RowArray | number | boolean | string | undefined>>;

export interface RowLoop<A extends RowArgs = RowArgs> {
  /** Unique among all loops. */
  readonly name: string;
  /** `import.meta.url` of the module that defines the loop: a worker imports it. Its imports must stay free of side effects. */
  readonly module: string;
  /** The arrays of the arguments that `run` writes; all others are only read. */
  readonly writes: readonly (keyof A & string)[];
  /** Rows [rowStart, rowEnd). Must write only what belongs to these rows. */
  readonly run: (args: A, rowStart: number, rowEnd: number) => void;
}

const loops = new Map<string, RowLoop>();

/** Registers a loop and returns it. Throws `TypeError` when another module took the name. */
export function defineRows<A extends RowArgs>(loop: RowLoop<A>): RowLoop<A> {
  const taken = loops.get(loop.name);
  if (taken && taken.module !== loop.module) {
    throw new TypeError(`Cannot define the row loop "${loop.name}" in ${loop.module}: ${taken.module} defines it`);
  }
  loops.set(loop.name, loop as unknown as RowLoop);
  return loop;
}

/** The loop of that name, once its module has been imported. Throws `TypeError` when there is none. */
export function rowLoop(name: string): RowLoop {
  const loop = loops.get(name);
  if (!loop) throw new TypeError(`Cannot run the row loop "${name}": no imported module defines it`);
  return loop;
}

/** Runs a quantised model from its stored codes: one session per block, none of whose linears is unpacked to float32. */
import type { BlockTensors, Engine, Hidden } from "../model/engine.ts";
import type { Names } from "../model/families/family.ts";
import type { Forward, RawLogits } from "../model/forward.ts";
import type { Window, Windowed } from "../model/hidden.ts";
import { windowFeeds } from "../model/window.ts";
import { checkedShape, packedBlockGraph, readPackedBlock } from "./block.ts";
import { PackedHead } from "./head.ts";
import type { AccuracyLevel, PackLinearOptions } from "./linear.ts";
import { PACKED_UP_TO, type Route, routeOf } from "./route.ts";
import type { Session } from "../runtime/runtime.ts";
import type { SessionOpener } from "../runtime/session_host.ts";
import { type QuantizedSource, StreamedWeights } from "../model/weights.ts";

export interface PackedOptions {
  /** 4 rounds the inputs of linears to int8 per token and kernel block (default); 0 keeps them in float32. */
  readonly accuracyLevel?: AccuracyLevel;
  /** Bytes of float32 weights that may be held beside the packed ones, for blocks that long sequences go through faster that way; none by default. */
  readonly denseBytes?: number;
  /** Where sessions are opened and run, in turn: hosts on other threads, which the caller frees. The engine's runtime by default. */
  readonly hosts?: readonly SessionOpener[];
}

const HEAD = -1;
const nothing = { k: new Float32Array(0), v: new Float32Array(0) };

export class PackedForward implements Forward {
  readonly #weights: StreamedWeights;
  readonly #blocks = new Map<number, Promise<PackedBlock>>();
  #head?: Promise<PackedHead | undefined>;
  /** Of the linears of each open block; the head's under `HEAD`. */
  readonly #routes = new Map<number, readonly Route[]>();
  readonly #openers: readonly SessionOpener[];
  readonly #pack: PackLinearOptions;
  #denseLeft: number;
  #reading: Promise<unknown> = Promise.resolve();

  /** `source` gives stored forms and what is in full precision, and is read once per block; `engine`, which the caller frees, runs what is not packed. */
  constructor(
    readonly engine: Engine,
    readonly source: QuantizedSource,
    readonly names: Names,
    readonly options: PackedOptions = {},
  ) {
    this.#weights = new StreamedWeights(source, { names, architecture: engine.architecture });
    this.#openers = options.hosts ?? [engine.runtime];
    const { accuracyLevel = 4 } = options;
    this.#pack = { accuracyLevel, narrow: accuracyLevel === 4 || engine.runtime.device !== "cpu" };
    this.#denseLeft = options.denseBytes ?? 0;
  }

  /** How each matrix of what is open runs, in the order of the model. */
  get routes(): readonly Route[] {
    const { layers } = this.engine.architecture;
    return [...Array(layers).keys(), HEAD].flatMap((layer) => this.#routes.get(layer) ?? []);
  }

  /** Opens every block and the head now, rather than when they are first used. `onBlock` is told how many are open. */
  async open(onBlock?: (done: number, total: number) => void): Promise<void> {
    const { layers } = this.engine.architecture;
    // One block per host is being packed there while the next one is read here.
    const ahead = this.options.hosts ? 2 * this.#openers.length : 1;
    for (let layer = 0; layer < layers + ahead; layer++) {
      const done = layer - ahead;
      if (done >= 0) {
        await this.#open(done);
        onBlock?.(done + 1, layers);
      }
      if (layer < layers) this.#open(layer).catch(() => {}); // heard when it is waited for
    }
    await this.#openHead();
  }

  async embed(tokens: Int32Array, batch: number): Promise<Hidden> {
    return { batch, time: tokens.length / batch, data: await this.#weights.embed(tokens) };
  }

  async block(layer: number, x: Hidden): Promise<Hidden> {
    const { architecture: a, rotations } = this.engine;
    rotations.feeds(0, x.time); // refuses what is too long before anything is opened
    const { session, dense } = await this.#open(layer);
    if (dense && x.batch * x.time > PACKED_UP_TO) return await this.engine.block(x, dense);
    const { y } = await session.run(windowFeeds(a, x, { from: 0, past: nothing }, rotations), {}, ["y"]);
    return { ...x, data: y.data };
  }

  async window(layer: number, x: Hidden, window: Window): Promise<Windowed> {
    const { architecture: a, rotations } = this.engine, feeds = windowFeeds(a, x, window, rotations);
    const { session, dense } = await this.#open(layer);
    if (dense && x.time > PACKED_UP_TO) return await this.engine.window(x, dense, window);
    const { y, ownK, ownV } = await session.run(feeds);
    return { x: { ...x, data: y.data }, k: ownK.data, v: ownV.data };
  }

  async head(x: Hidden, rows?: Int32Array): Promise<RawLogits> {
    const packed = await this.#openHead();
    if (packed) return await packed.logits(x, rows);
    const [norm, head] = [await this.#weights.finalNorm(), this.#weights.rows("head")];
    return await this.engine.head(x, { norm, head, rows });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What failed to open has told whoever waited for it, and has nothing to free.
    const opened = await Promise.allSettled([...this.#blocks.values(), this.#head]);
    this.#blocks.clear();
    for (const one of opened) {
      if (one.status === "fulfilled" && one.value) await one.value[Symbol.asyncDispose]();
    }
    this.#head = undefined;
  }

  #open(layer: number): Promise<PackedBlock> {
    let opened = this.#blocks.get(layer);
    if (!opened) {
      this.#blocks.set(layer, opened = this.#openBlock(layer));
      opened.catch(() => this.#blocks.delete(layer)); // whoever waits for it has the error
    }
    return opened;
  }

  async #openBlock(layer: number): Promise<PackedBlock> {
    const { runtime, architecture: a } = this.engine;
    const opener = this.#openers[layer % this.#openers.length];
    // One block is read at a time, so that the first host gets its block while the next one is read.
    const read = this.#reading.then(() => readPackedBlock(this.source, this.names, a, layer, this.#pack));
    this.#reading = read.catch(() => {});
    const weights = await read;
    // As in the dense engine: the fused attention is wrong on webgpu under software Vulkan.
    const fused = runtime.device !== "webgpu", own = opener.takesArrays === true;
    const g = packedBlockGraph(a, weights, { fused, own });
    const session = await opener.session(g.encode(), g.external);
    this.#routes.set(layer, weights.routes);
    const bytes = 4 * weights.size;
    if (weights.planes <= 2 || bytes > this.#denseLeft) return new PackedBlock(session);
    this.#denseLeft -= bytes;
    return new PackedBlock(session, await this.#weights.block(layer));
  }

  #openHead(): Promise<PackedHead | undefined> {
    if (!this.#head) {
      this.#head = this.#makeHead();
      this.#head.catch(() => this.#head = undefined);
    }
    return this.#head;
  }

  async #makeHead(): Promise<PackedHead | undefined> {
    const a = this.engine.architecture;
    const name = a.tiedHead ? this.names.embed : this.names.head;
    const q = await this.source.lookup(name);
    this.#routes.set(HEAD, [routeOf(name, q)]);
    if (!q) return undefined;
    checkedShape(q, [a.vocabSize, a.width]);
    return await PackedHead.open(this.#openers, a, await this.#weights.finalNorm(), q, this.#pack);
  }
}

class PackedBlock implements AsyncDisposable {
  /** `dense`: its float32 weights, where they are held for long sequences. */
  constructor(readonly session: Session, readonly dense?: BlockTensors) {}

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session[Symbol.asyncDispose]();
  }
}

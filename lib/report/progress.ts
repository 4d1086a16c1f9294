/** Progress lines: what is done, how fast, and when it will be finished. The clock and the terminal are passed in. */

/** A moment of some work. */
export interface Progress {
  readonly label: string;
  readonly done: number;
  /** Undefined when it is not known how much there is to do. */
  readonly total?: number;
  /** What `done` counts, for the rate: "tokens", "layers". */
  readonly unit?: string;
  /** Seconds since the work began. */
  readonly seconds: number;
  /** Work that was already done at the beginning (a resumed run): it counts for the bar, not for the rate. */
  readonly before?: number;
  /** Shown at the end: "loss 2.31". */
  readonly note?: string;
}

/**
 * One line of at most `width` characters: label, bar, percent, count, rate, time left, note. What does not fit is left
 * out from the least important on: bar, note, rate; a label too long for the rest is cut.
 */
export function progressLine(progress: Progress, width = 80): string {
  const { label, done, total, unit, seconds, before = 0, note } = progress;
  const share = total === undefined ? undefined : total === 0 ? 1 : Math.min(1, Math.max(0, done / total));
  const rate = seconds > 0 ? (done - before) / seconds : 0;
  const percent = share === undefined ? "" : `${Math.floor(share * 100)}%`.padStart(4);
  const count = total === undefined ? quantity(done) : `${quantity(done)}/${quantity(total)}`;
  const speed = rate > 0 ? `${quantity(rate)} ${unit ?? ""}`.trim() + "/s" : "";
  const left = total === undefined || share === 1
    ? duration(seconds)
    : rate > 0
    ? `ETA ${duration((total - done) / rate)}`
    : "ETA --";
  const join = (...parts: (string | undefined)[]) => parts.filter((part) => part).join("  ");
  const barWidth = width - join(label, percent, count, speed, left, note).length - 2;
  const candidates = [
    share !== undefined && barWidth >= 8
      ? join(label, bar(share, Math.min(30, barWidth)), percent, count, speed, left, note)
      : "",
    join(label, percent, count, speed, left, note),
    join(label, percent, count, speed, left),
    join(label, percent, count, left),
  ];
  const fitting = candidates.find((line) => line !== "" && line.length <= width);
  if (fitting !== undefined) return fitting;
  const rest = join(percent, count, left);
  const room = width - rest.length - 3;
  return room > 0 ? `${label.slice(0, room)}…  ${rest}` : rest.slice(0, Math.max(0, width));
}

/** Seconds as "8s", "3m05s", "2h10m" or "4d03h". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "--";
  const s = Math.max(0, Math.ceil(seconds - 1e-9));
  const two = (n: number) => String(n).padStart(2, "0");
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h${two(Math.floor(s / 60) % 60)}m`;
  return `${Math.floor(s / 86400)}d${two(Math.floor(s / 3600) % 24)}h`;
}

/** A count in at most five characters: "950", "12.3k", "4.51M". */
export function quantity(n: number): string {
  const size = Math.abs(n);
  for (const [unit, suffix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]] as const) {
    if (size < unit * 0.99995) continue;
    const scaled = n / (suffix === "k" ? 1e3 : unit);
    return `${scaled.toFixed(Math.abs(scaled) < 10 ? 2 : Math.abs(scaled) < 100 ? 1 : 0)}${suffix}`;
  }
  return Number.isInteger(n) ? String(n) : n.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0);
}

function bar(share: number, width: number): string {
  const inner = width - 2;
  const full = Math.floor(share * inner);
  return `[${"#".repeat(full)}${".".repeat(inner - full)}]`;
}

export interface MeterOptions {
  readonly label: string;
  readonly total?: number;
  readonly unit?: string;
  readonly before?: number;
  /** Milliseconds on any clock that does not run backwards. */
  readonly now: () => number;
  /** Where the text goes; lines end in "\n", redrawn lines begin with "\r". */
  readonly write: (text: string) => void;
  /** Redraw one line in place (a terminal), rather than print lines now and then (a file, a log). */
  readonly terminal: boolean;
  /** Columns of the terminal, asked at each redraw, for it may be resized. */
  readonly width?: () => number;
  /** Milliseconds between lines when this is no terminal; 10 000 by default. */
  readonly every?: number;
}

const redrawMs = 100; // at most ten times a second

/**
 * Tells how some work goes on, without ever writing more often than an eye or a log can bear.
 *
 * @example
 * ```ts
 * import { loadModel, ProgressMeter, quantize, rtn } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const meter = new ProgressMeter({
 *   label: "RTN",
 *   total: model.linearNames().length,
 *   now: () => performance.now(),
 *   write: (text) => Deno.stderr.writeSync(new TextEncoder().encode(text)),
 *   terminal: Deno.stderr.isTerminal(),
 * });
 * await quantize(model, rtn({ bits: 2, group: 32 }), { onProgress: (done, _, { name }) => meter.update(done, name) });
 * meter.finish();
 * ```
 */
export class ProgressMeter {
  readonly #options: MeterOptions;
  readonly #start: number;
  #last = -Infinity;
  #shown = 0;
  #done: number;
  #note: string | undefined;
  #finished = false;

  constructor(options: MeterOptions) {
    this.#options = options;
    this.#start = options.now();
    this.#done = options.before ?? 0;
    if (!options.terminal) this.#last = this.#start; // a log's first line comes after `every`: short work leaves one line, its last
  }

  /** `done` so far in all, `before` included. */
  update(done: number, note?: string): void {
    this.#done = done;
    this.#note = note ?? this.#note;
    const now = this.#options.now();
    if (this.#finished || now - this.#last < (this.#options.terminal ? redrawMs : this.#options.every ?? 10_000)) {
      return;
    }
    this.#last = now;
    this.#draw(now, false);
  }

  /** Writes the last line, whatever the time; later calls do nothing. */
  finish(note?: string): void {
    if (this.#finished) return;
    this.#note = note ?? this.#note;
    this.#draw(this.#options.now(), true);
    this.#finished = true;
  }

  #draw(now: number, last: boolean): void {
    const { label, total, unit, before, terminal, width, write } = this.#options;
    const seconds = (now - this.#start) / 1000;
    const columns = terminal ? (width?.() ?? 80) - 1 : 120; // the last column stays free: a full line would wrap
    const line = progressLine({ label, done: this.#done, total, unit, seconds, before, note: this.#note }, columns);
    if (!terminal) return write(`${line}\n`);
    write(`\r${line.padEnd(Math.min(this.#shown, columns))}${last ? "\n" : ""}`);
    this.#shown = line.length;
  }
}

/** Codes of one width into codes of another: from the streams of the stored forms to what `MatMulNBits` reads. */

/** Rows of codes in two streams: positions and distances are counted in codes. */
export interface Rows {
  readonly rows: number;
  /** Codes of a row. */
  readonly count: number;
  readonly from: Uint8Array;
  readonly at: number;
  readonly stride: number;
  /** Zero where codes will stand. */
  readonly to: Uint8Array;
  readonly atTo: number;
  readonly strideTo: number;
}

/** Codes that one step of the bulk loops takes, by their bits: a step reads at most twelve bits. Five to seven bits go one by one. */
const steps: Readonly<Record<number, number>> = { 1: 8, 2: 4, 3: 4, 4: 2, 8: 1 };

/**
 * Reads rows of codes of `bits` bits (1 to 8), maps each through `map` `[2^bits]`, and writes them with `wide` bits (2, 4 or 8). Streams are least significant bit first, as `packBits` writes them. Rows that start on whole bytes go several
 * codes at a time.
 */
export function recode(bits: number, wide: number, map: ArrayLike<number>, r: Rows): void {
  if (bits === 2 && wide === 2 && [r.at, r.stride, r.atTo, r.strideTo, r.count].every((n) => n % 16 === 0)) {
    return recodeWords(map, r);
  }
  const unit = steps[bits] ?? 1;
  const table = stepTable(bits, wide, map, unit);
  const bulk = bulkLoop(bits, wide);
  const mask = (1 << bits) - 1;
  // Two steps of twelve bits end on a byte, and so do two codes of eight bits that become four.
  const perCall = bits === 3 || (bits === 8 && wide === 4) ? 2 * unit : unit;
  for (let i = 0; i < r.rows; i++) {
    const at = r.at + i * r.stride, atTo = r.atTo + i * r.strideTo;
    let done = 0;
    if (bulk && (at * bits) % 8 === 0 && (atTo * wide) % 8 === 0) {
      const calls = Math.floor(r.count / perCall);
      bulk(table, r.from, at * bits / 8, r.to, atTo * wide / 8, calls);
      done = calls * perCall;
    }
    for (; done < r.count; done++) {
      const bit = (at + done) * bits, byte = Math.floor(bit / 8), bitTo = (atTo + done) * wide;
      const code = ((r.from[byte] | ((r.from[byte + 1] ?? 0) << 8)) >> (bit % 8)) & mask;
      r.to[Math.floor(bitTo / 8)] |= map[code] << (bitTo % 8);
    }
  }
}

/** Fills `count` codes from `at` of a stream that is zero there. */
export function fillCodes(to: Uint8Array, wide: number, at: number, count: number, code: number): void {
  for (let k = at; k < at + count; k++) to[Math.floor(k * wide / 8)] |= code << ((k * wide) % 8);
}

/** Two bits to two bits, sixteen codes at a time. */
function recodeWords(map: ArrayLike<number>, { rows, count, from, at, stride, to, atTo, strideTo }: Rows): void {
  const source = words(from, at / 4, ((rows - 1) * stride + count) / 16);
  const target = new Int32Array(to.buffer, to.byteOffset, to.length >> 2);
  const n = count / 16, step = stride / 16, stepTo = strideTo / 16;
  const same = [0, 1, 2, 3].every((code) => map[code] === code);
  if (same) {
    for (let i = 0; i < rows; i++) {
      const a = i * step, b = atTo / 16 + i * stepTo;
      for (let k = 0; k < n; k++) target[b + k] = source[a + k];
    }
    return;
  }
  const LOW = 0x55555555;
  const m0 = map[0] * LOW, m1 = map[1] * LOW, m2 = map[2] * LOW, m3 = map[3] * LOW;
  for (let i = 0; i < rows; i++) {
    const a = i * step, b = atTo / 16 + i * stepTo;
    for (let k = 0; k < n; k++) {
      const word = source[a + k];
      const low = word & LOW, high = (word >>> 1) & LOW;
      const three = low & high, one = low ^ three, two = high ^ three, zero = (low | high) ^ LOW;
      // Both bits of a code where it has the value: times three.
      target[b + k] = (m0 & (zero | (zero << 1))) | (m1 & (one | (one << 1))) | (m2 & (two | (two << 1))) |
        (m3 & (three | (three << 1)));
    }
  }
}

/** `count` 32-bit words of a stream from byte `at`; copied where the bytes do not start on a word. */
function words(bytes: Uint8Array, at: number, count: number): Int32Array {
  const start = bytes.byteOffset + at;
  if (start % 4 === 0) return new Int32Array(bytes.buffer, start, count);
  return new Int32Array(bytes.slice(at, at + 4 * count).buffer);
}

/** What `unit` neighbouring codes become, by their bits. */
function stepTable(bits: number, wide: number, map: ArrayLike<number>, unit: number): Uint32Array {
  const table = new Uint32Array(1 << (bits * unit));
  for (let word = 0; word < table.length; word++) {
    for (let k = 0; k < unit; k++) table[word] |= map[(word >> (k * bits)) & ((1 << bits) - 1)] << (k * wide);
  }
  return table;
}

type Bulk = (table: Uint32Array, from: Uint8Array, at: number, to: Uint8Array, atTo: number, calls: number) => void;

/** The loop over whole steps; none where a step does not end on bytes. */
function bulkLoop(bits: number, wide: number): Bulk | undefined {
  const unit = steps[bits];
  if (unit === undefined) return undefined;
  const bytes = unit * wide / 8; // written per step
  if (bits === 8 && wide === 4) return pairToByte;
  if (bits === 3) return bytes === 2 ? threeToFour : undefined;
  const loops: Readonly<Record<number, Bulk>> = { 1: byteToByte, 2: byteToTwo, 4: byteToFour };
  return loops[bytes];
}

const byteToByte: Bulk = (table, from, at, to, atTo, calls) => {
  for (let s = 0; s < calls; s++) to[atTo + s] = table[from[at + s]];
};

const pairToByte: Bulk = (table, from, at, to, atTo, calls) => {
  for (let s = 0; s < calls; s++, at += 2) to[atTo + s] = table[from[at]] | (table[from[at + 1]] << 4);
};

const byteToTwo: Bulk = (table, from, at, to, atTo, calls) => {
  for (let s = 0; s < calls; s++) {
    const word = table[from[at + s]];
    to[atTo++] = word;
    to[atTo++] = word >> 8;
  }
};

const byteToFour: Bulk = (table, from, at, to, atTo, calls) => {
  for (let s = 0; s < calls; s++) {
    const word = table[from[at + s]];
    to[atTo++] = word;
    to[atTo++] = word >> 8;
    to[atTo++] = word >> 16;
    to[atTo++] = word >> 24;
  }
};

const threeToFour: Bulk = (table, from, at, to, atTo, calls) => {
  for (let s = 0; s < calls; s++, at += 3) {
    const bits = from[at] | (from[at + 1] << 8) | (from[at + 2] << 16);
    const low = table[bits & 0xfff], high = table[bits >> 12];
    to[atTo++] = low;
    to[atTo++] = low >> 8;
    to[atTo++] = high;
    to[atTo++] = high >> 8;
  }
};

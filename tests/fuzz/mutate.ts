/** Seeded damage to bytes and to JSON. */
import type { Rng } from "../../lib/tensor/rng.ts";

/** One to three of: a flipped bit, a cut, a gap, a repeated or inserted run, a number of eight bytes put to an extreme. */
export function damaged(bytes: Uint8Array, r: Rng): Uint8Array {
  let out = bytes.slice();
  for (let n = 1 + r.int(3); n > 0 && out.length > 0; n--) {
    const at = r.int(out.length), length = 1 + r.int(Math.min(64, out.length));
    const [before, after] = [out.subarray(0, at), out.subarray(at)];
    const joined = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
    switch (r.int(6)) {
      case 0:
        out[at] ^= 1 << r.int(8);
        break;
      case 1:
        out = before.slice();
        break;
      case 2:
        out = joined(before, after.subarray(length));
        break;
      case 3:
        out = joined(before, after.subarray(0, length), after);
        break;
      case 4:
        out = joined(before, Uint8Array.from({ length }, () => r.int(256)), after);
        break;
      default:
        // Sizes stand at the beginning, as numbers of eight bytes.
        out.set(Uint8Array.from({ length: Math.min(8, out.length) }, () => r.int(2) * 255));
    }
  }
  return out;
}

const odd: readonly unknown[] = [
  ...[null, true, "", "x", "../up", "\0", -1, 0, 0.5, 1e9, 2 ** 53, 1e308, [], {}, [[]], [-1], ["x"]],
  ...[{ "": 1 }, "9".repeat(400), 2 ** 31, -(2 ** 31), "toString"],
];

/** JSON with a value changed for an odd one, a field taken away, doubled, renamed to one of every object's, or nested a thousand deep. */
export function damagedJson(text: string, r: Rng): string {
  if (r.int(4) === 0) return new TextDecoder().decode(damaged(new TextEncoder().encode(text), r));
  const root = JSON.parse(text);
  // Every place that can be changed: an object or list, and a key in it.
  const places: [holder: Record<string, unknown>, key: string][] = [];
  const visit = (value: unknown) => {
    if (typeof value !== "object" || value === null) return;
    for (const key of Object.keys(value)) {
      places.push([value as Record<string, unknown>, key]);
      visit((value as Record<string, unknown>)[key]);
    }
  };
  visit(root);
  if (places.length === 0) return JSON.stringify(odd[r.int(odd.length)]);
  for (let n = 1 + r.int(2); n > 0; n--) {
    const [holder, key] = places[r.int(places.length)];
    switch (r.int(5)) {
      case 0:
        delete holder[key];
        break;
      case 1:
        holder["constructor"] = holder[key];
        break;
      case 2:
        if (typeof holder[key] === "number") holder[key] = (holder[key] as number) + [-1, 1, 1000, -1000][r.int(4)];
        else holder[key] = [holder[key], holder[key]];
        break;
      default:
        holder[key] = odd[r.int(odd.length)];
    }
  }
  const changed = JSON.stringify(root);
  const extra = r.int(12);
  if (extra === 0) return changed.replace("{", '{"__proto__":{"x":1},');
  if (extra === 1) return changed.replace("{", `{"deep":${"[".repeat(1000)}${"]".repeat(1000)},`);
  if (extra === 2) return changed.replace(/("\w+":)([^,{}[\]]+)/, "$1$2,$1$2"); // a field twice
  return changed;
}

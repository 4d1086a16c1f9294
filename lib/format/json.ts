/** JSON with one rule more than `JSON.parse`: an object may name a key only once. */

/**
 * Parses `text`; throws `SyntaxError` when it is not JSON or when an object repeats a key (`JSON.parse` would keep the
 * last in silence).
 */
export function parseStrictJson(text: string): unknown {
  const value = JSON.parse(text);
  const repeated = repeatedKey(text);
  if (repeated !== undefined) throw new SyntaxError(`the key ${JSON.stringify(repeated)} occurs twice in one object`);
  return value;
}

/**
 * The first key that an object of `text` repeats. `text` must already be known to be JSON: only strings and brackets
 * are looked at.
 */
function repeatedKey(text: string): string | undefined {
  const open: (Set<string> | null)[] = []; // one entry per open bracket: the keys of an object, null for an array
  let keyNext = false;
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    if (c === '"') {
      const start = at;
      for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
      const keys = open.at(-1);
      if (!keyNext || !keys) continue;
      const key: string = JSON.parse(text.slice(start, at + 1)); // "a" and "\u0061" are the same key
      if (keys.has(key)) return key;
      keys.add(key);
      keyNext = false;
    } else if (c === "{") {
      open.push(new Set());
      keyNext = true;
    } else if (c === "[") {
      open.push(null);
      keyNext = false;
    } else if (c === "}" || c === "]") {
      open.pop();
      keyNext = false;
    } else if (c === ",") {
      keyNext = open.at(-1) !== null;
    }
  }
  return undefined;
}

/** Strings as Python treats them, where it differs from JavaScript. */

/** What `str.isspace()` counts: to JavaScript's white space it adds four separators and U+0085, and it takes no byte order mark. */
const isSpace = (character: string): boolean =>
  /\s/.test(character) ? character !== "\uFEFF" : "\u001c\u001d\u001e\u001f\u0085".includes(character);

/** `str.strip()`. */
export function strip(text: string): string {
  let start = 0, end = text.length;
  while (start < end && isSpace(text[start])) start++;
  while (end > start && isSpace(text[end - 1])) end--;
  return text.slice(start, end);
}

/** `str.capitalize()`: the first character upper case, all others lower case. */
export function capitalize(text: string): string {
  const [first = ""] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

/** `len(str)`: characters, not UTF-16 units. */
export function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** What HellaSwag's WikiHow part needs: headings become stops, other brackets go, double spaces become single, once. */
export function withoutBrackets(text: string): string {
  return strip(text).replaceAll(" [title]", ". ").replace(/\[[^\n]*?\]/g, "").replaceAll("  ", " ");
}

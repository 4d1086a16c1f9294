/** Strings as Python treats them, where it differs from JavaScript. */

/** `str.strip()`: its white space has four separators and U+0085 more, and no byte order mark. */
export function strip(text: string): string {
  return text.replace(
    /^[\s\x1c-\x1f\x85]+|[\s\x1c-\x1f\x85]+$/g,
    (run) => run.includes("\uFEFF") ? keepMarks(run) : "",
  );
}

/** A byte order mark is no white space to Python. */
function keepMarks(run: string): string {
  return run.slice(run.indexOf("\uFEFF"), run.lastIndexOf("\uFEFF") + 1);
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

/** Small edits of a source: an operator or a constant, outside of comments, texts, imports and types. */
import type { Edit } from "./planted.ts";

const operators: readonly (readonly [find: RegExp, put: string])[] = [
  [/ < /g, " <= "],
  [/ <= /g, " < "],
  [/ > /g, " >= "],
  [/ >= /g, " > "],
  [/ === /g, " !== "],
  [/ !== /g, " === "],
  [/ \+ /g, " - "],
  [/ - /g, " + "],
  [/ \* /g, " / "],
  [/ \/ /g, " * "],
  [/ && /g, " || "],
  [/ \|\| /g, " && "],
  [/ \?\? /g, " && "],
  [/Math\.max\(/g, "Math.min("],
  [/Math\.min\(/g, "Math.max("],
  [/\btrue\b/g, "false"],
  [/\bfalse\b/g, "true"],
  [/(?<![\w.])0(?![\w.])/g, "1"],
  [/(?<![\w.])1(?![\w.])/g, "2"],
  [/(?<![\w.])2(?![\w.])/g, "3"],
];

/** A loop that runs once too often mostly reads and writes beyond the end of a typed array, which changes nothing: it runs once too little instead. */
const loopEnd = /^(\s*(?:[}\]);]*\s*)?for \([^;]*;[^;<]* < )([^;]+);/;

/** Every edit of a source, without its tests. What is found is the whole line, with lines before it where it stands more than once. */
export function editsOf(file: string, text: string): Omit<Edit, "tests">[] {
  const masked = mask(text), edits: Omit<Edit, "tests">[] = [];
  const lines = text.split("\n"), codes = masked.split("\n");
  lines.forEach((line, i) => {
    if (/^\s*(import|export (type|interface)|type |interface |readonly |throw )/.test(line)) return;
    // A type before the value of a constant is none of what runs.
    const typed = /^\s*(?:export )?const \w+: .* = /.exec(codes[i])?.[0].length ?? 0;
    for (const [find, put] of operators) {
      for (const { index, 0: found } of codes[i].matchAll(find)) {
        if (index < typed - 3) continue;
        const end = put === " <= " && codes[i].match(loopEnd);
        const changed = end && index + found.length === end[1].length
          ? `${line.slice(0, end[1].length)}${line.slice(end[1].length, end[0].length - 1)} - 1${
            line.slice(end[0].length - 1)
          }`
          : line.slice(0, index) + put + line.slice(index + found.length);
        let from = i;
        while (from > 0 && text.split(lines.slice(from, i + 1).join("\n")).length !== 2) from--;
        const before = lines.slice(from, i).map((l) => `${l}\n`).join("");
        if (text.split(before + line).length !== 2) continue;
        edits.push({ name: `line ${i + 1}: ${changed.trim()}`, file, find: before + line, put: before + changed });
      }
    }
  });
  return edits;
}

/** The text with comments, strings and what is not in braces of templates blanked out, each character in its place. */
function mask(text: string): string {
  const blank = (found: string) => found.replaceAll(/[^\n]/g, " ");
  return text.replaceAll(
    /\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g,
    blank,
  );
}

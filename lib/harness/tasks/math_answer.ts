/**
 * Answers of MATH as strings: found and made uniform as A. Lewkowycz et al. do (arXiv 2206.14858, appendix D). The harness then also asks a computer algebra
 * system whether two that differ are equal; here they are compared as strings, so that accuracies are a little lower, and the version of the task says so.
 */

/** What is inside the last \boxed{...} of a solution (or \fbox); undefined where there is none, or it does not close. */
export function lastBoxed(solution: string): string | undefined {
  const start = Math.max(solution.lastIndexOf("\\boxed"), solution.lastIndexOf("\\fbox"));
  if (start < 0) return undefined;
  const bare = /^\\boxed ([^$]*)/.exec(solution.slice(start));
  if (bare) return bare[1];
  const open = solution.indexOf("{", start);
  if (open < 0) return undefined;
  let depth = 0;
  for (let i = open; i < solution.length; i++) {
    if (solution[i] === "{") depth++;
    if (solution[i] === "}" && --depth === 0) return solution.slice(open + 1, i);
  }
  return undefined;
}

/** What follows "Final Answer: The final answer is", up to the sentence that ends the examples. */
export function finalAnswer(text: string): string {
  const match = /Final Answer: The final answer is(.*?). I hope it is correct\./.exec(`${text}I hope it is correct.`);
  return match ? match[1].trim() : "[invalidanswer]";
}

/** Units and words that say nothing of the value. */
const removed = (
  "square|ways|integers|dollars|mph|inches|ft|hours|km|units|\\ldots|sue|points|feet|minutes|digits|cents|degrees|cm|gm|" +
  "pounds|meters|meals|edges|students|childrentickets|multiples|\\text{s}|\\text{.}|\\text{\ns}|\\text{}^2|\\text{}^3|" +
  '\\text{\n}|\\text{}|\\mathrm{th}|^\\circ|^{\\circ}|\\;|,\\!|{,}|"|\\dots'
).split("|");

const replaced: readonly (readonly [from: string, to: string])[] = [
  ["an ", ""],
  ["a ", ""],
  [".$", "$"],
  ["\\$", ""],
  ["\\ ", ""],
  [" ", ""],
  ["mbox", "text"],
  [",\\text{and}", ","],
  ["\\text{and}", ","],
  ["\\text{m}", "\\text{}"],
];

/** An answer in one spelling: without units, dollars, spaces and left-hand sides, with braces around short arguments. */
export function normalMath(answer: string): string {
  let text = answer.split("=").at(-1)!;
  for (const [from, to] of replaced) text = text.replaceAll(from, to);
  for (const word of removed) text = text.replaceAll(word, "");
  text = text.replace(/^[^\n]*?\$([^\n]*?)\$[^\n]*$/, "$$$1$$"); // of a sentence, its formula
  text = text.replace(/\\(?:text|textbf|overline|boxed)\{(.*?)\}/g, "$1");
  text = text.replace(/frac([^{])(.)/g, "frac{$1}{$2}").replace(/sqrt([^{])/g, "sqrt{$1}").replaceAll("$", "");
  const digits = text.replaceAll(",", "");
  return /^\d+$/.test(digits) ? digits : text;
}

/** Text inside HTML, SVG and Markdown: everything that comes from rows or names passes through here. */

/**
 * `text` for element content and quoted attributes of HTML and SVG; control characters that XML forbids become U+FFFD.
 */
export function escapeHtml(text: string): string {
  return withoutControls(text)
    .replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;").replaceAll(
      "'",
      "&#39;",
    );
}

/** `text` for one cell of a Markdown table. */
export function escapeMarkdown(text: string): string {
  return text.replace(/[\\|*`]/g, "\\$&").replaceAll("<", "&lt;").replace(/\s+/g, " ");
}

/** A value as JSON that may stand inside an HTML script element. */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028").replaceAll(
    "\u2029",
    "\\u2029",
  );
}

/** `text` with U+FFFD for the control characters that XML forbids. */
export function withoutControls(text: string): string {
  // deno-lint-ignore no-control-regex -- these are exactly the characters that XML forbids
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "\ufffd");
}

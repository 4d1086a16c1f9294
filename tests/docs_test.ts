/** The public vocabulary says what each name is, and shows what it is for. `deno check --doc lib` checks the types of the examples. */
import { assert, assertEquals } from "@std/assert";
import { deno } from "./deno.ts";

/** What `deno doc --json` says of a set of modules, as far as it is read here. */
interface Documented {
  readonly nodes: Readonly<Record<string, { readonly symbols: readonly DocumentedName[] }>>;
}

interface DocumentedName {
  readonly name: string;
  /** Overloads are declarations of one name. */
  readonly declarations: readonly {
    readonly kind: string;
    readonly jsDoc?: {
      readonly doc?: string;
      readonly tags?: readonly { readonly kind: string; readonly doc?: string }[];
    };
  }[];
}

/** What users import from each entry module. */
const doors = [["lib/mod.ts", "quant-dllm"], ["lib/testbed.ts", "quant-dllm/testbed"]] as const;

/** Names that say nothing of themselves; values, classes among them, without an example that imports and uses them. */
function undocumented({ nodes }: Documented): string[] {
  return Object.entries(nodes).flatMap(([url, { symbols }]) => {
    const [path, door] = doors.find(([path]) => url.endsWith(`/${path}`)) ?? [url, url];
    return symbols.flatMap(({ name, declarations }) => {
      const docs = declarations.flatMap(({ jsDoc }) => jsDoc ?? []);
      if (docs.every(({ doc = "" }) => doc.trim() === "")) return [`${path}: ${name} has no docstring`];
      if (declarations.every(({ kind }) => kind === "interface" || kind === "typeAlias")) return [];
      const examples = docs.flatMap(({ tags = [] }) => tags).filter(({ kind }) => kind === "example");
      if (examples.length === 0) return [`${path}: ${name} has no @example`];
      const shown = examples.some(({ doc = "" }) => usesName(doc, { name, door }));
      return shown ? [] : [`${path}: no @example of ${name} takes it from "${door}" and uses it`];
    });
  });
}

/** Whether an example has a block of TypeScript, the only kind that is type-checked, which imports the name from the door and uses it. */
function usesName(example: string, { name, door }: { readonly name: string; readonly door: string }): boolean {
  const code = /^```ts\n([\s\S]*?)^```$/m.exec(example)?.[1] ?? "";
  const imported = new RegExp(`^import \\{[^}]*\\b${name}\\b[^}]*\\} from "${door}";$`, "m");
  const used = new RegExp(`\\b${name}\\b`);
  return imported.test(code) && used.test(code.replaceAll(/^import [\s\S]*?;$/gm, ""));
}

Deno.test("every public name has a docstring, and every public value an example of its use", async () => {
  const root = new URL("../", import.meta.url);
  const entries = doors.map(([path]) => new URL(path, root).href);
  const { code, stdout, stderr } = await deno(["doc", "--json", ...entries]);
  assertEquals(code, 0, stderr);
  const documented = JSON.parse(stdout) as Documented;
  const counts = doors.map(([path]) => documented.nodes[new URL(path, root).href]?.symbols.length ?? 0);
  assert(counts[0] > 60 && counts[1] > 10, `only ${counts.join(" and ")} names were read`);
  assertEquals(undocumented(documented), []);
});

Deno.test("a missing docstring, a missing example and one that shows another name are found", () => {
  const example = (text: string) => ({ kind: "example", doc: text });
  const block = (code: string, language = "ts") => example(`\`\`\`${language}\n${code}\n\`\`\``);
  const of = (kind: string, ...jsDocs: DocumentedName["declarations"][number]["jsDoc"][]) =>
    undocumented({
      nodes: {
        "file:///somewhere/lib/mod.ts": {
          symbols: [{ name: "f", declarations: jsDocs.map((jsDoc) => ({ kind, jsDoc })) }],
        },
      },
    });
  const good = block('import { f } from "quant-dllm";\n\nf();');
  const doc = "What f is.";
  assertEquals(of("function", { doc, tags: [good] }), []);
  assertEquals(of("function", { doc, tags: [good] }, undefined), [], "overloads");
  assertEquals(of("interface", { doc }), []);
  assertEquals(of("typeAlias", { doc }), []);
  for (const kind of ["function", "class", "variable", "interface", "typeAlias"]) {
    for (const missing of [undefined, {}, { doc: " " }, { tags: [good] }]) {
      assertEquals(of(kind, missing), ["lib/mod.ts: f has no docstring"]);
    }
  }
  for (const kind of ["function", "class", "variable"]) {
    for (const tags of [undefined, [], [{ kind: "throws", doc: "RangeError" }]]) {
      assertEquals(of(kind, { doc, tags }), ["lib/mod.ts: f has no @example"]);
    }
  }
  const poor = [
    example("f()"),
    block('import { f } from "quant-dllm";\n\nf();', "text"),
    block("f();"),
    block('import { f } from "quant-dllm";\n\ng();'),
    block('import { ff } from "quant-dllm";\n\nf();'),
    block('import { f } from "quant-dllm/testbed";\n\nf();'),
  ];
  for (const tag of poor) {
    assertEquals(of("function", { doc, tags: [tag] }), [
      'lib/mod.ts: no @example of f takes it from "quant-dllm" and uses it',
    ]);
    assertEquals(of("function", { doc, tags: [tag, good] }), []);
  }
});

/** Sample rows: what was asked of one row of a data set, what came back, and how it counts; as lm-evaluation-harness 0.4.13 writes them. */
import type { Doc } from "./tasks/definition.ts";

/** A line of samples_TASK_DATE.jsonl. The values of `metrics` stand beside the other fields, by name. */
export interface SampleRow {
  readonly doc_id: number;
  readonly doc: Doc;
  readonly target: string;
  readonly arguments: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly resps: unknown;
  readonly filtered_resps: unknown;
  readonly filter: string;
  readonly metrics: readonly string[];
  readonly doc_hash: string;
  readonly prompt_hash: string;
  readonly target_hash: string;
  readonly [metric: string]: unknown;
}

export interface SampleParts {
  readonly id: number;
  readonly doc: Doc;
  readonly target: string;
  /** Per request its arguments: context and continuation, or prompt and settings of generation. */
  readonly requests: readonly (readonly unknown[])[];
  readonly responses: unknown;
  readonly filtered: unknown;
  readonly filter: string;
  readonly values: Readonly<Record<string, number>>;
  /** Fields of ours, which readers of the format pass over. */
  readonly more?: Readonly<Record<string, number | string>>;
}

/** A sample row with its hashes: SHA-256 of the row as indented JSON, of the first request's prompt, and of the target. */
export async function sampleRow(parts: SampleParts): Promise<SampleRow> {
  const { id, doc, target, requests, responses, filtered, filter, values, more } = parts;
  return {
    doc_id: id,
    doc,
    target,
    arguments: Object.fromEntries(requests.map((request, i) => [
      `gen_args_${i}`,
      Object.fromEntries(request.map((argument, j) => [`arg_${j}`, argument])),
    ])),
    resps: responses,
    filtered_resps: filtered,
    filter,
    metrics: Object.keys(values),
    doc_hash: await docHash(doc),
    prompt_hash: await sha256(String(requests[0][0])),
    target_hash: await sha256(target),
    ...values,
    ...more,
  };
}

/** The hash of a row of a data set. */
export const docHash = (doc: Doc): Promise<string> => sha256(JSON.stringify(doc, null, 2));

/** The hash of all that a task asked: of its rows' hashes, one after another. */
export function taskHash(rows: readonly SampleRow[]): Promise<string> {
  return sha256(rows.map((row) => row.doc_hash + row.prompt_hash + row.target_hash).join(""));
}

/** SHA-256 of a text as UTF-8, in hexadecimal digits. */
export async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Fields of ours: the variance of a metric over other masks. */
export const mcField = (metric: string): string => `${metric}_mc_variance`;

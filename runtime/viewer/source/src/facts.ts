// Facts: numbers and properties of a node, from the record; what a search and a colour ask for.

import type { Shown } from "./difference";
import { nameOf } from "./matching";
import type { Value } from "./query";
import type { Node, Trace } from "./record";
import { kernelsOf, profileOf, stepsOf, type Kernel, type Step } from "./schema";

/** What runs each node of one record, and how long it takes. */
export class Facts {
  private steps = new Map<string, Step>();
  private heirs = new Map<string, string>(); // for what is gone: what it became first

  constructor(readonly trace: Trace) {
    for (const step of stepsOf(trace.data)) if (step.node !== null) this.steps.set(trace.uidOf(step.node), step);
    for (const { became } of trace.stages) {
      for (const id in became) if (became[id].length) this.heirs.set(trace.uidOf(id), trace.uidOf(became[id][0]));
    }
  }

  /** What a node became, one after the other. */
  heirsOf(uid: string): string[] {
    const seen = new Set([uid]);
    for (let next = this.heirs.get(uid); next !== undefined && !seen.has(next); next = this.heirs.get(next)) seen.add(next);
    return [...seen].slice(1);
  }

  /** Whether what became of a node is no work at a run. */
  isFree(uid: string): boolean {
    const kinds = [uid, ...this.heirsOf(uid)].flatMap((id) => this.steps.get(id)?.kind ?? []);
    return kinds.length > 0 && kinds.every((kind) => kind === "view" || kind === "constant");
  }

  /** The step that runs the node, or what became of it. */
  step(node: Node): Step | null {
    const last = this.trace.state(this.trace.last);
    const seen = new Set<string>();
    for (let uid: string | null = node.uid; uid !== null && !seen.has(uid); ) {
      seen.add(uid);
      const step = this.steps.get(uid) ?? this.steps.get(last.get(uid)?.parent ?? "");
      if (step) return step;
      uid = last.has(uid) ? null : (this.heirs.get(uid) ?? null);
    }
    return null;
  }

  kernel(node: Node): Kernel | null {
    const number = this.step(node)?.kernel;
    return typeof number === "number" ? (kernelsOf(this.trace.data)[number] ?? null) : null;
  }

  /** Seconds of a step. */
  time(step: Step): number | null {
    return profileOf(this.trace.data)?.steps[step.number]?.seconds ?? null;
  }

  /** Seconds of the step that runs just this node. */
  seconds(node: Node): number | null {
    const step = this.steps.get(node.uid);
    return step ? this.time(step) : null;
  }

  field(shown: Shown, field: string, users: (uid: string) => number): Value | undefined {
    const { node } = shown;
    if (field === "name") return nameOf(node);
    if (field === "op") return node.op;
    if (field === "type") return node.type;
    if (field === "dtype") return dtypeOf(node);
    if (field === "rank") return (node.raw.shape as unknown[] | null | undefined)?.length ?? rankOf(node.type);
    if (field === "flops") return number(node.raw.flops);
    if (field === "bytes") return number(node.raw.bytes) ?? number(node.raw.result_bytes);
    if (field === "time") return this.seconds(node);
    if (field === "scope") return (node.raw.scope as string | undefined) ?? "";
    if (field === "file") return node.file;
    if (field === "line") return node.line;
    if (field === "source") return node.source;
    if (field === "status") return shown.status;
    if (field === "backward") return node.backward;
    if (field === "kernel") return this.kernel(node)?.name ?? null;
    if (field === "id") return node.id;
    if (field === "operands") return node.operands.length;
    return field === "users" ? users(node.uid) : undefined;
  }
}

export function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

export function dtypeOf(node: Node): string {
  const recorded = node.raw.dtype;
  if (typeof recorded === "string") return recorded;
  const parts = node.type.startsWith("(") ? node.type.match(/\b[a-z]+\d*(?=\[)/g) : node.type.match(/^[a-z]+\d*/);
  return parts ? [...new Set(parts)].join(", ") : "other";
}

function rankOf(type: string): number | null {
  const sizes = type.match(/^\w+\[([^\]]*)\]$/)?.[1];
  return sizes === undefined ? null : sizes ? sizes.split(",").length : 0;
}

export function seconds(value: number): string {
  if (value >= 1) return `${value.toPrecision(3)} s`;
  if (value >= 1e-3) return `${(value * 1e3).toPrecision(3)} ms`;
  if (value >= 1e-6) return `${(value * 1e6).toPrecision(3)} \u00b5s`;
  return `${Math.round(value * 1e9)} ns`;
}

export function amount(value: number | string | null | undefined, unit = ""): string {
  if (value === null || value === undefined) return "\u2013";
  if (typeof value === "string") return value;
  const scale = ["", "k", "M", "G", "T", "P"];
  let i = 0;
  let rest = value;
  while (Math.abs(rest) >= 1000 && i < scale.length - 1) {
    rest /= 1000;
    i++;
  }
  const digits = i === 0 ? String(Math.round(rest * 100) / 100) : rest.toPrecision(3);
  return `${digits}${unit || scale[i] ? " " : ""}${scale[i]}${unit}`;
}

// Difference: what two points of time, of one record or of two, have in common and what not.

import type { Node, State, Trace } from "./record";

export type Status = "same" | "added" | "removed" | "changed";

export interface Shown {
  node: Node; // as it is afterwards; for what is gone, as it was
  before: Node | null;
  status: Status;
}

export type Picture = Map<string, Shown>;

/** What `after` has, and what it has no more, each with what became of it since `before`. */
export function difference(before: State | null, after: State): Picture {
  const picture: Picture = new Map();
  for (const [uid, node] of after) {
    const old = before?.get(uid) ?? null;
    const status: Status = !before ? "same" : !old ? "added" : old.key === node.key ? "same" : "changed";
    picture.set(uid, { node, before: old, status });
  }
  if (before) {
    for (const [uid, node] of before) {
      if (!after.has(uid)) picture.set(uid, { node, before: node, status: "removed" });
    }
  }
  return picture;
}

export function counts(picture: Picture): Record<Status, number> {
  const result = { same: 0, added: 0, removed: 0, changed: 0 };
  for (const { status } of picture.values()) result[status]++;
  return result;
}

/** How many nodes went into a body, as fusion does with them. */
export function moved(picture: Picture): number {
  let many = 0;
  for (const { node, before } of picture.values()) if (before && before.parent !== node.parent) many++;
  return many;
}

export interface Moment {
  at: number;
  what: "came" | "changed" | "went";
}

/** When the node came, changed and went. */
export function biography(trace: Trace, id: string): Moment[] {
  const moments: Moment[] = [];
  trace.stages.forEach((stage, at) => {
    if (id in stage.delta.added) moments.push({ at, what: "came" });
    if (id in stage.delta.changed) moments.push({ at, what: "changed" });
    if (stage.delta.removed.includes(id)) moments.push({ at, what: "went" });
  });
  return moments;
}

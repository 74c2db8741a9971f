// The record: what graphc writes (docs/record.md), and the states of the function read back from its deltas.

export interface Body {
  nodes: Record<string, Raw>;
  inputs: string[];
  outputs: string[];
  effects: string[];
}

/** A node as the record spells it. */
export interface Raw {
  op: string;
  operands: string[];
  attrs: Record<string, string | Body>;
  type: string;
  name: string | null;
  file: string | null;
  line: number | null;
  source: string | null;
  backward: boolean;
  [more: string]: unknown;
}

export interface Decision {
  kind: string;
  subject: string;
  accepted: boolean;
  reason: string;
  at: string | null;
  details?: Record<string, unknown>;
  [more: string]: unknown;
}

export interface Rewrite {
  rule: string;
  equation: string;
  decision: number;
  before: string;
  after: string | null;
  made: string[];
  inside: boolean;
  at: string | null;
}

export interface Stage {
  name: string;
  seconds: number;
  nodes: number;
  flops: number | string;
  bytes: number | string;
  counters: Record<string, number>;
  decisions: Decision[];
  rewrites?: Rewrite[];
  passing?: Record<string, Raw>;
  became?: Record<string, string[]>;
  delta: {
    added: Record<string, Raw>;
    changed: Record<string, Raw>;
    removed: string[];
    inputs: string[];
    outputs: string[];
    effects: string[];
  };
  [more: string]: unknown;
}

export interface RecordData {
  backend?: string;
  title?: string;
  stages: Stage[];
  [more: string]: unknown;
}

/**
 * A node of a state. Its `uid` is the viewer's id: nodes of two records that stand for one another share
 * it, and a node that was fused keeps it within the group. Its `place` is where a picture has it.
 */
export interface Node {
  uid: string;
  place: string;
  id: string;
  parent: string | null;
  op: string;
  operands: string[];
  attrs: [string, string][];
  type: string;
  name: string | null;
  file: string | null;
  line: number | null;
  source: string | null;
  backward: boolean;
  raw: Raw;
  key: string; // all that makes two versions of a node the same
}

export type State = Map<string, Node>;

const STEP = 8; // every so many stages a whole state is kept

/** One record: its stages, and the state after each. */
export class Trace {
  readonly stages: Stage[];
  private kept = new Map<number, Map<string, Raw>>();
  private recent: { at: number; state: State }[] = [];
  private made = new Map<Raw, Node[]>();
  uidOf: (id: string) => string = (id) => id;

  constructor(readonly data: RecordData) {
    this.stages = data.stages ?? [];
    let raw = new Map<string, Raw>();
    this.stages.forEach((stage, at) => {
      if (at % STEP === 0) this.kept.set(at - 1, new Map(raw));
      step(raw, stage);
    });
  }

  get last(): number {
    return this.stages.length - 1;
  }

  private rawState(at: number): Map<string, Raw> {
    const from = Math.floor(at / STEP) * STEP;
    const raw = new Map(this.kept.get(from - 1)!);
    for (let i = from; i <= at; i++) step(raw, this.stages[i]);
    return raw;
  }

  /** The nodes after stage `at`, those of bodies among them; -1 is before everything. */
  state(at: number): State {
    if (at < 0 || !this.stages.length) return new Map();
    const found = this.recent.find((entry) => entry.at === at);
    if (found) return found.state;
    const state: State = new Map();
    for (const [id, raw] of this.rawState(at)) {
      for (const node of this.spelled(id, raw)) {
        if (node.parent === null || !state.has(node.uid)) state.set(node.uid, node);
        else state.set(node.place, { ...node, uid: node.place }); // computed in more than one group
      }
    }
    this.recent.unshift({ at, state });
    this.recent.length = Math.min(this.recent.length, 6);
    return state;
  }

  /** The nodes of raw `raw` (its bodies' among them) that has the id `id`. */
  nodesOf(id: string, raw: Raw): Node[] {
    return this.spelled(id, raw);
  }

  /** Forgets what was read: the ids mean other nodes now. */
  renamed(uidOf: (id: string) => string): void {
    this.uidOf = uidOf;
    this.recent = [];
    this.made.clear();
  }

  private spelled(id: string, raw: Raw): Node[] {
    let nodes = this.made.get(raw);
    if (!nodes) {
      nodes = [];
      spell(raw, id, this.uidOf(id), null, this.uidOf, nodes);
      this.made.set(raw, nodes);
    }
    return nodes;
  }

  /** Every node that ever was, by place, in the order in which they came, as it last was. */
  union(): State {
    const all: State = new Map();
    for (const stage of this.stages) {
      const passing = (stage.passing ?? {}) as Record<string, Raw>;
      for (const part of [passing, stage.delta.added, stage.delta.changed]) {
        for (const id in part) for (const node of this.spelled(id, part[id])) all.set(node.place, node);
      }
    }
    return all;
  }

  /** All versions of all nodes: what each ever read. */
  *versions(): Iterable<Node> {
    for (const stage of this.stages) {
      for (const part of [stage.delta.added, stage.delta.changed]) for (const id in part) yield* this.spelled(id, part[id]);
    }
  }

  /** Whether stage `at` changed anything. */
  changes(at: number): boolean {
    const { added, changed, removed, inputs, outputs, effects } = this.stages[at].delta;
    if (removed.length || Object.keys(added).length || Object.keys(changed).length) return true;
    if (at === 0) return false;
    const before = this.stages[at - 1].delta;
    const same = (a: string[], b: string[]) => a.length === b.length && a.every((id, i) => id === b[i]);
    return !(same(inputs, before.inputs) && same(outputs, before.outputs) && same(effects, before.effects));
  }

  /** The state's inputs, outputs or effects, by uid. */
  ends(at: number, which: "inputs" | "outputs" | "effects"): string[] {
    return at < 0 || !this.stages[at] ? [] : this.stages[at].delta[which].map(this.uidOf);
  }
}

function step(raw: Map<string, Raw>, stage: Stage): void {
  const { added, changed, removed } = stage.delta;
  for (const id of removed) raw.delete(id);
  for (const id in added) raw.set(id, added[id]);
  for (const id in changed) raw.set(id, changed[id]);
}

function spell(
  raw: Raw,
  id: string,
  uid: string,
  parent: Node | null,
  uidOf: (id: string) => string,
  into: Node[],
): void {
  const attrs: [string, string][] = [];
  const bodies: [string, Body][] = [];
  for (const name in raw.attrs) {
    const value = raw.attrs[name];
    if (typeof value === "string") attrs.push([name, value]);
    else bodies.push([name, value]);
  }
  const operands = raw.operands.map(uidOf);
  const key = `${raw.op}|${raw.type}|${operands.join()}|${JSON.stringify(attrs)}`;
  const { op, type, name, file, line, source, backward } = raw;
  const place = parent ? `${parent.place}>${uid}` : uid;
  const holder = parent ? parent.uid : null;
  const node: Node = {
    uid, place, id, parent: holder, op, operands, attrs, type, name, file, line, source, backward, raw, key,
  };
  into.push(node);
  for (const [attr, body] of bodies) {
    attrs.push([attr, `{ ${Object.keys(body.nodes).length} nodes }`]);
    const members = (raw.members ?? {}) as Record<string, string>;
    const given = op === "fused" ? new Map(body.inputs.map((inner, i) => [inner, operands[i]])) : null;
    const outer = uidOf;
    const inside = (inner: string) =>
      given?.get(inner) ?? (members[inner] ? outer(members[inner]) : `${uid}/${attr}/${inner}`);
    const seen = new Set<string>();
    for (const inner in body.nodes) {
      if (given?.has(inner)) continue; // what a group reads, it reads from where that is made
      let own = inside(inner);
      if (seen.has(own)) own = `${uid}/${attr}/${inner}`;
      seen.add(own);
      spell(body.nodes[inner], members[inner] ?? inner, own, node, inside, into);
    }
  }
}

/** The page's records. */
export function embedded(): Trace[] {
  const text = document.getElementById("records")?.textContent ?? "[]";
  const data: RecordData[] = JSON.parse(text) ?? [];
  return data.filter((record) => record && Array.isArray(record.stages)).map((record) => new Trace(record));
}

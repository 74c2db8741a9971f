// App: the settings, and what follows from them: picture, arrangement, scene, look. The parts of the page listen.

import { arrange, edgesOf, openAtFirst, type Arrangement, type Edge } from "./arrangement";
import { Camera } from "./camera";
import { schemeOf, type Scheme } from "./colour";
import { cone, linksOf, pathBetween, type Links } from "./cones";
import { difference, type Picture, type Shown } from "./difference";
import { Facts } from "./facts";
import { Layouts } from "./layouts";
import { look, type Item, type Tree } from "./lens";
import { match } from "./matching";
import { parseQuery, QueryError } from "./query";
import type { Rewrite, State, Trace } from "./record";
import { rewritesOf, stateWithin } from "./rewriting";
import { extentOf, sceneOf, type Scene, type Sprite } from "./scene";
import { DEFAULTS, readLink, writeLink, type Settings } from "./settings";
import { themeOf, type Theme } from "./theme";

export class App {
  settings: Settings;
  theme: Theme;
  readonly facts: Facts[];
  readonly union: State;
  picture: Picture = new Map();
  links: Links = { operands: new Map(), users: new Map() };
  tree!: Tree;
  scene: Scene | null = null;
  scheme!: Scheme;
  matches: string[] = [];
  bright: Set<string> | null = null; // the nodes that a search, a cone or a path means
  trouble = ""; // with the search
  readonly camera: Camera;
  readonly counters = { layouts: 0, scenes: 0 };
  private opened = new Map<string, Set<string>>(); // by lens
  private trees = new Map<string, { tree: Tree; edges: Edge[] }>();
  private layouts = new Layouts();
  private arrangement: Arrangement | null = null;
  private arranged = "";
  private pictured = "";
  private coloured = "";
  private drawn: Picture | null = null; // what the scene is of
  private listeners: (() => void)[] = [];
  private redraw: () => void = () => undefined;
  private turn = 0;

  constructor(
    readonly traces: Trace[],
    canvas: HTMLCanvasElement,
  ) {
    if (traces.length > 1) match(traces[0], traces[1]);
    this.facts = traces.map((trace) => new Facts(trace));
    this.union = new Map();
    for (const trace of [...traces].reverse()) for (const [place, node] of trace.union()) this.union.set(place, node);
    const first: Settings = { ...DEFAULTS, theme: remembered() };
    if (traces.length > 1) Object.assign(first, { record: 1, pass: traces[1].last, base: `0.${traces[0].last}` });
    this.settings = this.sound(readLink(location.hash, first));
    this.theme = themeOf(this.settings.theme);
    this.camera = new Camera(canvas, () => this.redraw());
    window.addEventListener("hashchange", () => {
      if (location.hash !== writeLink(this.settings)) void this.set(readLink(location.hash, first), false);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => void this.set({}));
  }

  onDraw(redraw: () => void): void {
    this.redraw = redraw;
  }

  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  get trace(): Trace {
    return this.traces[this.settings.record];
  }

  get fact(): Facts {
    return this.facts[this.settings.record];
  }

  get open(): Set<string> {
    return this.opened.get(this.settings.lens)!;
  }

  get rewrites(): Rewrite[] {
    return rewritesOf(this.trace, this.settings.pass);
  }

  /** The node that is selected, if the picture has it. */
  get selected(): Shown | null {
    return this.settings.node === null ? null : (this.picture.get(this.settings.node) ?? null);
  }

  get box(): Item | null {
    return this.settings.box === null ? null : (this.tree.items.get(this.settings.box) ?? null);
  }

  spriteOf(uid: string | null): Sprite | null {
    return (uid !== null && this.scene?.of.get(uid)) || null;
  }

  /** The point that is compared with: a record and a stage; null where nothing is. */
  get base(): { record: number; pass: number } | null {
    const { base, record, pass } = this.settings;
    if (base === "none") return null;
    if (base === "previous") return { record, pass: pass - 1 };
    const [r, p] = base.split(".").map(Number);
    return { record: r, pass: p };
  }

  /** Changes settings, and shows what follows. Resolves when it is laid out. */
  async set(patch: Partial<Settings>, link = true, anchor: Item | null = null): Promise<void> {
    this.settings = this.sound({ ...this.settings, ...patch });
    if (patch.theme) remember(patch.theme);
    this.theme = themeOf(this.settings.theme);
    if (link) history.replaceState(null, "", writeLink(this.settings));
    const { record, pass, rewrite, base } = this.settings;
    const point = `${record}.${pass}.${rewrite}.${base}`;
    if (point !== this.pictured) {
      this.picture = this.pictureNow();
      this.links = linksOf(this.picture);
      this.pictured = point;
    }
    const { tree, edges } = this.treeOf(this.settings.lens);
    this.tree = tree;
    this.search();
    const painted = `${point}.${this.settings.colour}.${this.theme.dark}`;
    if (painted !== this.coloured) {
      const nodes = [...this.picture.values()].map((shown) => shown.node);
      this.scheme = schemeOf(this.settings.colour, nodes, this.fact, this.theme.dark);
      this.coloured = painted;
    }
    const turn = ++this.turn;
    let begins = false;
    const packed = this.settings.places === "packed";
    const wanted = [this.settings.lens, packed ? point : "", ...this.open].join("\n");
    if (wanted !== this.arranged) {
      const present = packed ? this.present() : null;
      const used = packed ? edgesOf(tree, [...this.picture.values()].flatMap(({ node, before }) => (before && before !== node ? [node, before] : [node]))) : edges;
      const arrangement = await arrange(tree, this.open, present, used, this.layouts);
      if (turn !== this.turn) return;
      this.counters.layouts++;
      const before = anchor && this.arrangement?.rects.get(anchor);
      const after = anchor && arrangement.rects.get(anchor);
      if (before && after) {
        this.camera.x += after.x - before.x;
        this.camera.y += after.y - before.y;
      }
      const first = !this.arrangement || this.arrangement.tree !== tree;
      this.arrangement = arrangement;
      this.arranged = wanted;
      begins = first && !anchor;
    }
    if (this.scene?.arrangement !== this.arrangement || this.drawn !== this.picture) {
      this.scene = sceneOf(this.arrangement!, this.picture);
      this.drawn = this.picture;
      this.counters.scenes++;
    }
    if (begins) this.begin();
    for (const listener of this.listeners) listener();
    this.redraw();
  }

  /** Selects a node, opens what it lies in, and shows it. */
  async select(uid: string | null, show = true): Promise<void> {
    if (uid === null) return this.set({ node: null, box: null, cone: "", path: null });
    const shown = this.picture.get(uid);
    const item = shown && this.tree.items.get(this.tree.place(shown.node));
    for (let outer = item?.parent; show && outer && outer !== this.tree.root; outer = outer.parent) this.open.add(outer.id);
    await this.set({ node: uid, box: null });
    const sprite = this.spriteOf(uid);
    if (show && sprite) this.camera.reveal(sprite.x, sprite.y, sprite.w, sprite.h);
  }

  /** Shows the pass after its first `count` rewrites, and where the last of them was. */
  async rewriteTo(count: number, pass = this.settings.pass): Promise<void> {
    const done = count > 0 ? rewritesOf(this.trace, pass)[count - 1] : undefined;
    await this.set({ pass, rewrite: count, node: null, box: null });
    const uids = [done?.after, done?.before].filter((id): id is string => Boolean(id)).map((id) => this.trace.uidOf(id));
    let hidden = false;
    for (const uid of uids) {
      const shown = this.picture.get(uid);
      const item = shown && this.tree.items.get(this.tree.place(shown.node));
      for (let outer = item?.parent; outer && outer !== this.tree.root; outer = outer.parent) {
        hidden ||= !this.open.has(outer.id);
        this.open.add(outer.id);
      }
    }
    if (hidden) await this.set({});
    const sprite = uids.map((uid) => this.spriteOf(uid)).find(Boolean);
    if (sprite) this.camera.reveal(sprite.x, sprite.y, sprite.w, sprite.h);
  }

  /** Selects the next of what was found; of all nodes, where nothing is looked for. */
  async next(by: number): Promise<void> {
    const list = this.matches.length ? this.matches : [...this.picture.keys()];
    const at = this.settings.node === null ? -1 : list.indexOf(this.settings.node);
    const to = at < 0 ? (by > 0 ? 0 : list.length - 1) : (at + by + list.length) % list.length;
    if (list.length) await this.select(list[to]);
  }

  async toggle(item: Item): Promise<void> {
    if (!item.children.length) return;
    if (!this.open.delete(item.id)) this.open.add(item.id);
    await this.set({}, true, item);
  }

  async openAll(open: boolean): Promise<void> {
    this.open.clear();
    if (open) for (const item of this.present()) if (item.children.length && item !== this.tree.root) this.open.add(item.id);
    this.arrangement = null;
    this.arranged = ""; // it is arranged anew, even where nothing was opened or closed
    await this.set({});
  }

  fit(): void {
    const bounds = extentOf(this.scene?.sprites ?? []);
    if (bounds) this.camera.fit(...bounds);
  }

  private begin(): void {
    const sprites = this.scene?.sprites ?? [];
    const bounds = extentOf(sprites);
    if (!bounds) return;
    const fed = sprites.filter(({ shown }) => shown?.node.op === "placeholder");
    const upper = (fed.length ? fed : sprites.filter(({ y }) => y < bounds[1] + 900)).map(({ x, w }) => x + w / 2);
    upper.sort((a, b) => a - b);
    this.camera.begin(...bounds, upper[upper.length >> 1]);
  }

  private sound(settings: Settings): Settings {
    const result = { ...settings };
    result.record = Math.min(result.record, this.traces.length - 1);
    const trace = this.traces[result.record];
    result.pass = Math.max(0, Math.min(result.pass, trace.last));
    const rewrites = rewritesOf(trace, result.pass).length;
    if (result.rewrite !== null) result.rewrite = rewrites ? Math.min(result.rewrite, rewrites) : null;
    const [r, p] = result.base.includes(".") ? result.base.split(".").map(Number) : [0, 0];
    if (r >= this.traces.length || p > this.traces[r].last) result.base = "previous";
    return result;
  }

  private pictureNow(): Picture {
    const { pass, rewrite, base } = this.settings;
    const after = rewrite === null ? this.trace.state(pass) : stateWithin(this.trace, pass, rewrite);
    const from = this.base;
    if (!from || (from.record === this.settings.record && from.pass < 0 && base === "previous")) return difference(null, after);
    if (base === "previous" && rewrite !== null) {
      return difference(stateWithin(this.trace, pass, Math.max(0, rewrite - 1)), after);
    }
    return difference(this.traces[from.record].state(from.pass), after);
  }

  private treeOf(lens: Settings["lens"]): { tree: Tree; edges: Edge[] } {
    let found = this.trees.get(lens);
    if (!found) {
      const [trace] = this.traces;
      const most = trace.stages.reduce((best, stage, at) => (stage.nodes > trace.stages[best].nodes ? at : best), 0);
      const tree = look(this.union, trace.state(most), lens);
      found = { tree, edges: this.traces.flatMap((trace) => edgesOf(tree, trace.versions())) };
      this.trees.set(lens, found);
      this.opened.set(lens, openAtFirst(tree));
    }
    return found;
  }

  private present(): Set<Item> {
    const present = new Set<Item>();
    for (const { node, before } of this.picture.values()) {
      for (const version of before ? [node, before] : [node]) {
        for (let item = this.tree.items.get(this.tree.place(version)) ?? null; item; item = item.parent) present.add(item);
      }
    }
    return present;
  }

  private search(): void {
    const { q, node, cone: direction, path } = this.settings;
    this.matches = [];
    this.trouble = "";
    this.bright = null;
    try {
      const test = parseQuery(q);
      if (test) {
        const users = (uid: string) => this.links.users.get(uid)?.length ?? 0;
        for (const shown of this.picture.values()) {
          if (test((field) => this.fact.field(shown, field, users))) this.matches.push(shown.node.uid);
        }
        this.bright = new Set(this.matches);
      }
    } catch (error) {
      if (!(error instanceof QueryError)) throw error;
      this.trouble = error.message;
    }
    if (node === null || !this.picture.has(node)) return;
    if (path !== null && this.picture.has(path)) this.bright = new Set([path, ...pathBetween(path, node, this.links)]);
    else if (direction) {
      const up = direction === "out" ? [] : cone(node, this.links.operands);
      const down = direction === "in" ? [] : cone(node, this.links.users);
      this.bright = new Set([...up, ...down]);
    }
  }
}

function remembered(): Settings["theme"] {
  try {
    return readLink(`#theme=${localStorage.getItem("graphc-theme") ?? ""}`, DEFAULTS).theme;
  } catch {
    return DEFAULTS.theme; // a page from a file may be refused a memory
  }
}

function remember(theme: Settings["theme"]): void {
  try {
    localStorage.setItem("graphc-theme", theme);
  } catch {
    // as above
  }
}

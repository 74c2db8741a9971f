// The panel of a node: what it is, where it comes from, what became of it, and the code that runs it.

import type { App } from "./app";
import { biography } from "./difference";
import type { Shown } from "./difference";
import { facts, h, section, some } from "./dom";
import { amount, dtypeOf, number, seconds } from "./facts";
import { titleOf } from "./lens";
import { nameOf } from "./matching";
import type { Decision, Node } from "./record";
import type { Gradient, Kernel } from "./schema";

export function nodePanel(app: App, shown: Shown): HTMLElement[] {
  const { node, status } = shown;
  const { fact } = app;
  const step = fact.step(node);
  const kernel = fact.kernel(node);
  const time = step && fact.time(step);
  const whole = step && step.node !== null && app.trace.uidOf(step.node) !== node.uid;
  const name = nameOf(node);
  return [
    h("h1", {}, titleOf(node), status !== "same" && h("em", { class: status }, status === "added" ? "new" : status === "removed" ? "gone" : "changed")),
    h("p", { class: "type" }, node.type),
    source(node),
    otherLines(app, node),
    facts([
      ["op", node.op],
      ["name", name],
      ["scope", (node.raw.scope as string) || null],
      ["dtype", dtypeOf(node)],
      ["flops", node.raw.flops === undefined ? null : amount(number(node.raw.flops))],
      ["bytes moved", node.raw.bytes === undefined ? null : amount(number(node.raw.bytes), "B")],
      ["result", node.raw.result_bytes === undefined ? null : amount(number(node.raw.result_bytes), "B")],
      ["measured", time === null ? null : `${seconds(time)}${whole ? ", with all of its kernel" : ""}`],
      ["step", step && h("button", { class: "link", type: "button", onclick: () => void app.set({ drawer: "schedule", step: step.number }) }, `${step.number}, ${step.kind}`)],
      ["id", node.id],
    ]),
    differences(app, shown),
    node.attrs.length ? section("Attributes", true, facts(node.attrs.map(([key, value]) => [key, value]))) : null,
    links(app, "Holds", [...app.picture.values()].filter((other) => other.node.parent === node.uid).map((other) => other.node.uid)),
    links(app, "Operands", node.operands),
    links(app, "Users", app.links.users.get(node.uid) ?? []),
    became(app, node),
    gradient(app, node),
    fusion(app, node),
    kernel && kernelText(kernel),
  ].filter((part): part is HTMLElement => part !== null);
}

function source(node: Node): HTMLElement | null {
  if (node.line === null) return null;
  return h(
    "figure",
    { class: "source" },
    h("figcaption", {}, `${node.file}:${node.line}`, node.backward && h("span", { class: "muted" }, " its gradient")),
    h("pre", {}, node.source ?? ""),
  );
}

/** The other lines of the source that a group computes. */
function otherLines(app: App, node: Node): HTMLElement | null {
  if (node.op !== "fused") return null;
  const texts = new Map<string, string>();
  for (const { node: member } of app.picture.values()) {
    if (member.parent === node.uid && member.line !== null) texts.set(`${member.file}:${member.line}`, member.source ?? "");
  }
  texts.delete(`${node.file}:${node.line}`);
  if (!texts.size) return null;
  return section(`Other lines in it (${texts.size})`, true, facts([...texts].map(([at, text]) => [at, h("code", {}, text)])));
}

function differences(app: App, { node, before, status }: Shown): HTMLElement | null {
  if (status !== "changed" || !before) return null;
  const old = new Map(before.attrs);
  const rows: [string, string, string][] = [];
  if (before.op !== node.op) rows.push(["op", before.op, node.op]);
  if (before.type !== node.type) rows.push(["type", before.type, node.type]);
  if (before.operands.join() !== node.operands.join()) {
    const called = (uids: string[]) => uids.map((uid) => nameIn(app, uid)).join(", ") || "none";
    rows.push(["operands", called(before.operands), called(node.operands)]);
  }
  for (const [key, value] of node.attrs) if (old.get(key) !== value) rows.push([key, old.get(key) ?? "none", value]);
  return section("What changed", true, facts(rows.map(([key, from, to]) => [key, [h("del", {}, from), " ", h("ins", {}, to)]])));
}

/** What a node that is or was there is called, with its id. */
function nameIn(app: App, uid: string): string {
  const shown = app.picture.get(uid);
  return shown ? `${titleOf(shown.node)} (${shown.node.id})` : uid;
}

export function nodeLink(app: App, uid: string): HTMLElement {
  const shown = app.picture.get(uid);
  if (!shown) return h("span", { class: "node-link absent" }, uid);
  const { node, status } = shown;
  return h(
    "button",
    { class: `node-link ${status}`, type: "button", onclick: () => void app.select(uid) },
    h("b", {}, titleOf(node)),
    h("span", { class: "muted" }, ` ${node.type}`),
  );
}

function links(app: App, title: string, uids: string[]): HTMLElement | null {
  if (!uids.length) return null;
  return section(`${title} (${uids.length})`, true, h("ul", { class: "links" }, some([...new Set(uids)], (uid) => h("li", {}, nodeLink(app, uid)), 12)));
}

/** The node's life from pass to pass, and what stands for it now. */
function became(app: App, node: Node): HTMLElement | null {
  const { trace } = app;
  const lines: HTMLElement[] = [];
  const goto = (at: number, text: string) => h("button", { class: "link", type: "button", onclick: () => void app.set({ pass: at, rewrite: null }) }, text);
  const { id } = node; // of a member of a group: the one that it had before
  for (const { at, what } of biography(trace, id)) {
    const stage = trace.stages[at];
    const rules = (stage.rewrites ?? []).filter((rewrite) => rewrite.before === id || rewrite.after === id || rewrite.made.includes(id));
    const heirs = what === "went" ? (stage.became?.[id] ?? []) : [];
    lines.push(
      h(
        "li",
        {},
        goto(at, `${at} ${stage.name.replaceAll("_", " ")}`),
        ` ${what === "went" ? (heirs.length ? "became" : "removed it: nothing needed it") : what === "came" ? "made it" : "changed it"} `,
        heirs.map((heir) => heirButton(app, at, heir)),
        rules.map((rule) => h("code", { class: "equation" }, `${rule.rule}: ${plain(rule.equation)}`)),
      ),
    );
  }
  const holder = node.parent !== null ? app.picture.get(node.parent) : null;
  if (holder) lines.push(h("li", {}, holder.node.op === "fused" ? "runs in the group " : "is in the body of ", nodeLink(app, holder.node.uid)));
  return lines.length ? section("What it became", true, h("ul", { class: "life" }, lines)) : null;
}

function heirButton(app: App, at: number, id: string): HTMLElement {
  const uid = app.trace.uidOf(id);
  const node = app.trace.state(at).get(uid);
  const go = async () => {
    await app.set({ pass: at, rewrite: null });
    await app.select(uid);
  };
  return h("button", { class: "node-link", type: "button", onclick: () => void go() }, h("b", {}, node ? titleOf(node) : id), h("span", { class: "muted" }, ` ${node?.type ?? ""}`));
}

export function plain(equation: string): string {
  return equation.replaceAll("``", "").replace(/\.$/, "");
}

function gradient(app: App, node: Node): HTMLElement | null {
  const made = node.raw.gradient as Gradient | null | undefined;
  const lines: (HTMLElement | null)[] = [];
  if (made) {
    const uid = app.trace.uidOf(made.of);
    const what = made.total ? "It is the gradient with respect to " : "It is a part of the gradient of ";
    lines.push(h("p", {}, what, made.name ? h("b", {}, made.name) : "", made.name ? ": " : "", app.picture.has(uid) ? nodeLink(app, uid) : h("span", { class: "muted" }, `${made.of}, a node of an earlier pass`)));
  } else if (node.backward) lines.push(h("p", {}, "Differentiation made it, for the line above."));
  const parts: string[] = [];
  for (const other of app.picture.values()) {
    const of = (other.node.raw.gradient as Gradient | null | undefined)?.of;
    if (of !== undefined && app.trace.uidOf(of) === node.uid) parts.push(other.node.uid);
  }
  if (parts.length) lines.push(h("p", {}, `${parts.length} node${parts.length > 1 ? "s" : ""} compute its gradient:`), h("ul", { class: "links" }, some(parts, (uid) => h("li", {}, nodeLink(app, uid)), 8)));
  return lines.length ? section("Gradient", true, ...lines) : null;
}

const FREE = "one of the two costs nothing at a run: it is a view of memory, or a constant";

/** For each neighbour: in one kernel with it, or why not. */
function fusion(app: App, node: Node): HTMLElement | null {
  const { trace } = app;
  const reasons = (trace.data.reasons as Record<string, Record<string, string>> | undefined)?.fuse ?? {};
  const decided = new Set<string>();
  for (const { decisions } of trace.stages) {
    for (const { kind, nodes } of decisions) if (kind === "fuse") for (const id of (nodes as string[] | undefined) ?? []) decided.add(trace.uidOf(id));
  }
  const heir = decided.has(node.uid) ? undefined : app.fact.heirsOf(node.uid).find((uid) => decided.has(uid));
  const mine = new Set([heir ?? node.uid]);
  for (const other of app.picture.values()) if (other.node.parent === node.uid) mine.add(other.node.uid);
  const together = new Set<string>();
  const apart = new Map<string, Decision>();
  for (const stage of trace.stages) {
    for (const decision of stage.decisions) {
      if (decision.kind !== "fuse") continue;
      const uids = ((decision.nodes as string[] | undefined) ?? []).map(trace.uidOf);
      if (!uids.some((uid) => mine.has(uid))) continue;
      if (decision.accepted) uids.forEach((uid) => together.add(uid));
      else uids.filter((uid) => !mine.has(uid)).forEach((uid) => apart.set(`${uid} ${decision.reason}`, decision));
    }
  }
  for (const uid of mine) together.delete(uid);
  const rows: HTMLElement[] = [];
  if (heir !== undefined) rows.push(h("p", { class: "muted" }, "As what it became: ", heirName(app, heir)));
  if (together.size) rows.push(h("p", {}, `In one kernel with ${together.size} node${together.size > 1 ? "s" : ""}:`), h("ul", { class: "links" }, some([...together], (uid) => h("li", {}, nodeLink(app, uid)), 8)));
  const mineIsFree = app.fact.isFree(node.uid);
  for (const [key, { subject, reason }] of apart) {
    const uid = key.split(" ")[0];
    const why = mineIsFree || app.fact.isFree(uid) ? FREE : (reasons[reason] ?? reason);
    rows.push(h("p", { class: "refusal" }, h("b", {}, subject), " not fused: ", why, " ", nodeLink(app, uid)));
  }
  return together.size || apart.size ? section("Fusion with its neighbours", true, ...rows.slice(0, 40)) : null;
}

/** What a node of any pass is called. */
function heirName(app: App, uid: string): string {
  const { trace } = app;
  for (let at = app.settings.pass; at <= trace.last; at++) {
    const node = trace.state(at).get(uid);
    if (node) return `${titleOf(node)} ${node.type}, after ${at} ${trace.stages[at].name.replaceAll("_", " ")}`;
  }
  return uid;
}

export function kernelText(kernel: Kernel): HTMLElement {
  const parts: [string, string | null][] = [
    ["IR", kernel.ir],
    ["LLVM", kernel.llvm],
    ["assembly", kernel.assembly],
  ];
  const given = parts.filter(([, text]) => text);
  const code = h("pre", { class: "code", tabindex: 0 }, given[0]?.[1] ?? "");
  const buttons = given.map(([label, text], i) =>
    h(
      "button",
      {
        type: "button",
        role: "tab",
        "aria-selected": i === 0 ? "true" : "false",
        onclick: (event: MouseEvent) => {
          for (const button of buttons) button.setAttribute("aria-selected", String(button === event.currentTarget));
          code.textContent = text;
        },
      },
      label,
    ),
  );
  const size = kernel.object_bytes ? `, ${amount(kernel.object_bytes, "B")} of machine code` : "";
  const about = `${kernel.kind}, runs ${kernel.steps.length} step${kernel.steps.length === 1 ? "" : "s"}${size}`;
  return section(`Kernel ${kernel.name}`, true, h("p", { class: "muted" }, about), h("div", { class: "tabs", role: "tablist" }, buttons), code);
}

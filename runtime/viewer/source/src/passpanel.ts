// The panel of a pass: what it did, rewrite by rewrite, what it decided, and the nodes that differ; and that of a box.

import type { App } from "./app";
import { facts, h, section, some } from "./dom";
import { amount, seconds } from "./facts";
import { leaves } from "./cells";
import type { Item } from "./lens";
import { nodeLink, plain } from "./nodepanel";
import type { Decision, RecordData } from "./record";
import { called } from "./schedule";
import { memoryOf, profileOf, stepsOf, titleOf, type Step } from "./schema";

export function passPanel(app: App): HTMLElement[] {
  const { trace, settings } = app;
  const stage = trace.stages[settings.pass];
  const idle = !trace.changes(settings.pass);
  return [
    h("h1", {}, stage.name.replaceAll("_", " "), idle && h("em", {}, "changed nothing")),
    facts([
      ["time", seconds(stage.seconds)],
      ["nodes", String(stage.nodes)],
      ["flops", amount(stage.flops)],
      ["bytes", typeof stage.bytes === "number" ? amount(stage.bytes, "B") : stage.bytes],
      ...Object.entries(stage.counters ?? {})
        .filter(([, count]) => count)
        .map(([key, count]): [string, string] => [key.replaceAll("_", " "), String(count)]),
    ]),
    app.settings.q && !app.trouble
      ? section(`Found (${app.matches.length})`, true, h("ul", { class: "links" }, some(app.matches, (uid) => h("li", {}, nodeLink(app, uid)), 20)))
      : null,
    rewrites(app),
    differing(app),
    ends(app),
    decisions(app),
    about(app, idle || settings.pass === 0),
  ].filter((part): part is HTMLElement => part !== null);
}

function rewrites(app: App): HTMLElement | null {
  const list = app.rewrites;
  const stage = app.trace.stages[app.settings.pass];
  const hidden = (stage.rewrites ?? []).length - list.length;
  if (!list.length && !hidden) return null;
  const here = app.settings.rewrite;
  const lines = list.map((rewrite, i) =>
    h(
      "li",
      { class: here === i + 1 ? "here" : here !== null && i >= here ? "later" : "" },
      h(
        "button",
        { type: "button", class: "rewrite", onclick: () => void app.rewriteTo(i + 1) },
        h("b", {}, rewrite.rule.replaceAll("_", " ")),
        h("code", {}, plain(rewrite.equation)),
        rewrite.at && h("span", { class: "muted" }, rewrite.at),
      ),
    ),
  );
  const first = Math.max(0, (here ?? 0) - 30);
  return section(
    `Rewrites (${list.length})`,
    true,
    h("p", { class: "muted" }, here === null ? "Step through them with , and . or click one." : `After ${here} of ${list.length}; the whole pass with Escape.`),
    h("ol", { class: "rewrites", start: first + 1 }, some(lines.slice(first), (line) => line, 60)),
    hidden > 0 && h("p", { class: "muted" }, `${hidden} more inside bodies of regions.`),
  );
}

/** The nodes that are new, gone or changed, compared with the base. */
function differing(app: App): HTMLElement | null {
  const parts = (["added", "removed", "changed"] as const).map((status) => {
    const uids = [...app.picture.values()].filter((shown) => shown.status === status).map((shown) => shown.node.uid);
    if (!uids.length) return null;
    const word = status === "added" ? "New" : status === "removed" ? "Gone" : "Changed";
    return section(`${word} (${uids.length})`, uids.length < 20, h("ul", { class: "links" }, some(uids, (uid) => h("li", {}, nodeLink(app, uid)), 40)));
  });
  return parts.some(Boolean) ? h("div", {}, parts) : null;
}

/** Which nodes are given back, or run for what they do, where that is not as before the pass. */
function ends(app: App): HTMLElement | null {
  const { trace, settings } = app;
  const { pass } = settings;
  if (pass === 0 || settings.rewrite !== null || settings.base !== "previous") return null;
  const words = { inputs: "Fed", outputs: "Given back", effects: "Run for its effect" };
  const lines = (Object.keys(words) as (keyof typeof words)[]).flatMap((which) => {
    const [before, after] = [trace.ends(pass - 1, which), trace.ends(pass, which)];
    const [came, went] = [after.filter((uid) => !before.includes(uid)), before.filter((uid) => !after.includes(uid))];
    return [
      ...came.map((uid) => h("li", {}, `${words[which]} now: `, nodeLink(app, uid))),
      ...went.map((uid) => h("li", {}, `${words[which]} no more: `, nodeLink(app, uid))),
      came.length || went.length || before.join() === after.join() ? null : h("li", {}, `${words[which]} in another order`),
    ].filter((line) => line !== null);
  });
  return lines.length ? section(`Inputs and outputs (${lines.length})`, lines.length < 20, h("ul", { class: "links" }, some<HTMLElement>(lines, (line) => line, 40))) : null;
}

function decisions(app: App): HTMLElement | null {
  const { decisions: all } = app.trace.stages[app.settings.pass];
  const list = all.filter((decision) => decision.kind !== "rewrite");
  if (!list.length) return null;
  const groups = new Map<string, Decision[]>();
  for (const decision of list) {
    const key = `${decision.kind}: ${decision.accepted ? "done" : "refused"}, ${decision.reason}`;
    groups.set(key, [...(groups.get(key) ?? []), decision]);
  }
  const reasons = (app.trace.data.reasons ?? {}) as Record<string, Record<string, string>>;
  return section(
    `Decisions (${list.length})`,
    true,
    ...[...groups].map(([key, group]) => {
      const sentence = reasons[group[0].kind]?.[group[0].reason];
      return h(
        "details",
        { class: "decisions" },
        h("summary", {}, `${key} (${group.length})`),
        sentence && h("p", { class: "muted" }, sentence),
        h("ul", { class: "links" }, some(group, (decision) => h("li", {}, decisionLine(app, decision)), 20)),
      );
    }),
  );
}

function decisionLine(app: App, { subject, at, nodes }: Decision): HTMLElement {
  const uids = ((nodes as string[] | undefined) ?? []).map(app.trace.uidOf).filter((uid) => app.picture.has(uid));
  return h("div", {}, h("b", {}, subject), " ", uids.slice(0, 4).map((uid) => nodeLink(app, uid)), at && h("div", { class: "muted" }, at));
}

function about(app: App, open: boolean): HTMLElement {
  const { data } = app.trace;
  const memory = memoryOf(data);
  const profile = profileOf(data);
  const sizes = Object.entries((data.sizes ?? {}) as Record<string, number>).map(([name, size]) => `${name} = ${size}`);
  const machine = Object.entries((data.machine ?? {}) as Record<string, string>);
  const time = (step: Step) => profile?.steps[step.number]?.seconds ?? 0;
  const slowest = profile ? [...stepsOf(data)].sort((a, b) => time(b) - time(a)).slice(0, 5) : [];
  return section(
    "Record",
    open,
    facts([
      ["of", titleOf(data, app.settings.record)],
      ["backend", data.backend ?? null],
      ["sizes", sizes.length ? `${sizes.join(", ")}${data.sizes_are === "assumed" ? " (assumed)" : ""}` : null],
      ["peak", memory?.peak ? amount(memory.peak.bytes, "B") : null],
      ["compiled in", compiling(data)],
      ["a run", profile && `${seconds(profile.seconds)} (median of ${profile.runs})`],
      ...machine.map(([key, value]): [string, string] => [key, String(value)]),
    ]),
    slowest.length > 0 && h("h2", {}, "Slowest steps"),
    h("ul", { class: "links" }, slowest.map((step) => h("li", {}, slow(app, step, time(step))))),
  );
}

/** How long compiling took; what was compiled before is recognised, and its passes run again for the record. */
function compiling(data: RecordData): string | null {
  const { seconds: time, parts } = (data.compile ?? {}) as { seconds?: number; parts?: { name: string }[] };
  if (typeof time !== "number") return null;
  return `${seconds(time)}${parts?.some((part) => part.name === "recognise") ? ", found compiled in a cache" : ""}`;
}

function slow(app: App, step: Step, time: number): HTMLElement {
  const go = () => app.set({ drawer: "schedule", step: step.number, pass: app.trace.last, rewrite: null });
  const show = async () => {
    await go();
    if (step.node !== null) await app.select(app.trace.uidOf(step.node));
  };
  return h("button", { class: "node-link", type: "button", onclick: () => void show() }, h("b", {}, `${seconds(time)} ${called(app, step)}`), h("span", { class: "muted" }, ` ${step.at ?? step.type}`));
}

export function boxPanel(app: App, item: Item): HTMLElement[] {
  const inside = leaves(item).filter((leaf) => app.picture.has(leaf.node!.uid));
  const ops = new Map<string, number>();
  for (const leaf of inside) ops.set(leaf.node!.op, (ops.get(leaf.node!.op) ?? 0) + 1);
  const sorted = [...ops].sort((a, b) => b[1] - a[1]);
  const opened = app.open.has(item.id);
  return [
    h("h1", {}, item.label, h("em", {}, item.kind === "cells" ? "repeated cells" : item.kind)),
    item.note ? h("p", { class: "type" }, item.note) : null,
    h("p", {}, h("button", { class: "action", type: "button", onclick: () => void app.toggle(item) }, opened ? "Close (Enter)" : "Open (Enter)")),
    facts([["nodes", String(inside.length)], ...sorted.slice(0, 12).map(([op, many]): [string, string] => [op, String(many)])]),
    section("Nodes", true, h("ul", { class: "links" }, some(inside, (leaf) => h("li", {}, nodeLink(app, leaf.node!.uid)), 40))),
  ].filter((part): part is HTMLElement => part !== null);
}

// The schedule: the steps of the program in order, with what runs each and how long it took.

import type { App } from "./app";
import { bar, fill, h, some } from "./dom";
import { amount, seconds } from "./facts";
import { titleOf } from "./lens";
import { kernelText } from "./nodepanel";
import { kernelsOf, profileOf, stepsOf, type Step } from "./schema";

const KINDS: Record<string, string> = {
  view: "the memory of its operand: costs nothing",
  constant: "known before the run: costs nothing",
  meaning: "the op's NumPy function",
  region: "its bodies, step by step",
  numpy: "the op's NumPy function",
};

/** What a step is called: as its node in a picture. */
export function called(app: App, step: Step): string {
  const node = step.node === null ? undefined : app.trace.state(app.trace.last).get(app.trace.uidOf(step.node));
  return node ? titleOf(node) : step.op;
}

let slowestFirst = false;

export function scheduleDrawer(app: App): HTMLElement {
  const { data } = app.trace;
  const steps = stepsOf(data);
  if (!steps.length) return h("p", { class: "muted" }, "This record has no program: it is of the passes alone.");
  const profile = profileOf(data);
  const time = (step: Step) => profile?.steps[step.number]?.seconds ?? 0;
  const most = Math.max(...steps.map(time), 1e-12);
  const total = steps.reduce((sum, step) => sum + time(step), 0);
  const ordered = slowestFirst && profile ? [...steps].sort((a, b) => time(b) - time(a)) : steps;
  const at = app.settings.step;
  const kernels = kernelsOf(data);
  const choose = async (step: Step) => {
    await app.set({ step: step.number, pass: app.trace.last, rewrite: null });
    if (step.node !== null) await app.select(app.trace.uidOf(step.node));
  };
  const line = (step: Step) =>
    h(
      "tr",
      { class: step.number === at ? "here" : "", "data-step": step.number, onclick: () => void choose(step) },
      h("td", { class: "bytes" }, String(step.number)),
      h("td", { class: "short" }, h("button", { class: "link", type: "button" }, called(app, step)), h("span", { class: "muted" }, ` ${step.type}`)),
      h("td", { class: "short", title: KINDS[step.kind] }, step.kernel === null ? step.kind : (kernels[step.kernel]?.name ?? step.kind)),
      h("td", { class: "bytes" }, profile ? seconds(time(step)) : "\u2013"),
      h("td", {}, profile && bar(time(step), most, `${((100 * time(step)) / (total || 1)).toFixed(1)} % of all steps`)),
      h("td", { class: "bytes" }, amount(step.flops)),
      h("td", { class: "bytes" }, amount(step.bytes, "B")),
      h("td", { class: "muted at" }, step.at ?? "", step.backward && " (backward)"),
    );
  const heads = ["", "op", "kernel", "time", "", "flops", "bytes", "line of the source"];
  const table = h(
    "table",
    { class: "steps" },
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", {}, head)))),
    h("tbody", {}, some(ordered, line, 200)),
  );
  const sort = h(
    "button",
    {
      class: "action",
      type: "button",
      "aria-pressed": slowestFirst ? "true" : "false",
      onclick: () => {
        slowestFirst = !slowestFirst;
        void app.set({});
      },
    },
    "Slowest first",
  );
  const run = profile
    ? `${steps.length} steps; a run takes ${seconds(profile.seconds)} (median of ${profile.runs})`
    : `${steps.length} steps; no measured times in this record`;
  const beside = h("div", { class: "beside" });
  const chosen = at === null ? undefined : steps[at];
  const kernel = chosen?.kernel === null || chosen === undefined ? null : kernels[chosen.kernel];
  fill(beside, h("p", {}, run, " ", profile && sort), kernel ? kernelText(kernel) : h("p", { class: "muted" }, "Choose a step to see its kernel."));
  return h("div", { class: "split" }, h("div", { class: "plot scrolls" }, profile && strip(app, steps, time, total, at), table), beside);
}

/** All steps on one line, each as wide as it takes long. */
function strip(app: App, steps: Step[], time: (step: Step) => number, total: number, at: number | null): HTMLElement {
  return h(
    "div",
    { class: "strip", "aria-hidden": "true" },
    steps
      .filter((step) => time(step) > total / 2000)
      .map((step) =>
        h("i", {
          class: step.number === at ? "here" : "",
          style: `flex-grow:${(time(step) / (total || 1)).toFixed(5)}`,
          title: `step ${step.number}: ${called(app, step)}, ${seconds(time(step))}`,
          onclick: () => void app.set({ step: step.number }),
        }),
      ),
  );
}

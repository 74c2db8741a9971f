// Slider: the passes in order, each as wide as it took long, grey where it changed nothing.

import type { App } from "./app";
import { counts, moved } from "./difference";
import { byId, fill, h } from "./dom";
import { seconds } from "./facts";
import { SIGNS } from "./pencil";

export class Slider {
  private built = -1;
  private ticks: HTMLElement[] = [];

  constructor(private app: App) {
    app.onChange(() => this.show());
    const track = byId("track");
    const pick = (event: PointerEvent) => {
      const under = document.elementFromPoint(event.clientX, track.getBoundingClientRect().top + 12);
      const at = under instanceof HTMLElement ? under.dataset.pass : undefined;
      if (at !== undefined) void app.set({ pass: Number(at), rewrite: null });
    };
    track.addEventListener("pointerdown", (event) => {
      track.setPointerCapture(event.pointerId);
      pick(event);
    });
    track.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) pick(event);
    });
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    byId("earlier").addEventListener("click", () => this.change(-1));
    byId("later").addEventListener("click", () => this.change(1));
  }

  step(by: number): void {
    const { pass } = this.app.settings;
    const to = Math.max(0, Math.min(this.app.trace.last, pass + by));
    void this.app.set({ pass: to, rewrite: null });
  }

  /** Goes to the next pass, or the one before, that changed something. */
  change(by: number): void {
    const { trace, settings } = this.app;
    for (let at = settings.pass + by; at >= 0 && at <= trace.last; at += by) {
      if (trace.changes(at)) return void this.app.set({ pass: at, rewrite: null });
    }
  }

  /** One rewrite on or back; beyond the last one lies the whole pass, beyond it the next pass with rewrites. */
  rewrite(by: number): void {
    const { app } = this;
    const many = app.rewrites.length;
    const at = app.settings.rewrite ?? (by > 0 ? (many ? 0 : null) : many ? many + 1 : null);
    const to = at === null ? null : at + by;
    if (to !== null && to >= 0 && to <= many) return void app.rewriteTo(to);
    for (let pass = app.settings.pass + by; pass >= 0 && pass <= app.trace.last; pass += by) {
      const inside = (app.trace.stages[pass].rewrites ?? []).filter((rewrite) => !rewrite.inside).length;
      if (inside) return void app.rewriteTo(by > 0 ? 1 : inside, pass);
    }
  }

  private build(): void {
    const { trace, settings } = this.app;
    this.built = settings.record;
    const total = trace.stages.reduce((sum, stage) => sum + stage.seconds, 0) || 1;
    this.ticks = trace.stages.map((stage, at) => {
      const changed = trace.changes(at);
      const share = Math.max(stage.seconds / total, 0);
      const title = `${at}. ${stage.name}\n${seconds(stage.seconds)}, ${stage.nodes} nodes${changed ? "" : "\nchanged nothing"}`;
      return h(
        "div",
        { class: `tick${changed ? "" : " idle"}`, "data-pass": at, title, style: `flex-grow:${(0.25 + share * 60).toFixed(3)}` },
        h("span", { "data-pass": at }, stage.name.replaceAll("_", " ")),
      );
    });
    fill(byId("track"), this.ticks);
  }

  private show(): void {
    const { app } = this;
    const { trace, settings } = app;
    if (this.built !== settings.record) this.build();
    const stage = trace.stages[settings.pass];
    const base = app.base;
    this.ticks.forEach((tick, at) => {
      tick.classList.toggle("here", at === settings.pass);
      tick.classList.toggle("past", at < settings.pass);
      tick.classList.toggle("base", settings.base.includes(".") && base?.record === settings.record && base.pass === at);
    });
    const tally = counts(app.picture);
    const into = moved(app.picture);
    const text = `pass ${settings.pass} of ${trace.last}: ${stage.name}, ${seconds(stage.seconds)}`;
    const track = byId("track");
    track.setAttribute("aria-valuemax", String(trace.last));
    track.setAttribute("aria-valuenow", String(settings.pass));
    track.setAttribute("aria-valuetext", text);
    const many = app.rewrites.length;
    fill(
      byId("where"),
      h("span", { class: "number" }, `${settings.pass}/${trace.last}`),
      h("strong", {}, stage.name.replaceAll("_", " ")),
      h("span", { class: "muted" }, seconds(stage.seconds)),
      settings.rewrite !== null && h("span", { class: "muted" }, `rewrite ${settings.rewrite} of ${many}`),
    );
    const against = base && base.pass >= 0 && settings.base.includes(".") ? this.against(base) : null;
    fill(
      byId("tally"),
      h("span", {}, `${settings.rewrite === null ? stage.nodes : top(app)} nodes`),
      (["added", "removed", "changed"] as const).map((status) =>
        h("span", { class: status, title: status }, `${SIGNS[status]}${tally[status]}`),
      ),
      into > 0 && h("span", { class: "muted" }, `${into} regrouped`),
      against && h("span", { class: "muted" }, `since ${against}`),
    );
  }

  private against({ record, pass }: { record: number; pass: number }): string {
    const { app } = this;
    const name = app.traces[record].stages[pass]?.name.replaceAll("_", " ") ?? "";
    return record === app.settings.record ? `${pass} ${name}` : `record ${record + 1}, ${pass} ${name}`;
  }
}

/** How many nodes there are, those of bodies apart. */
function top(app: App): number {
  let many = 0;
  for (const { node, status } of app.picture.values()) if (node.parent === null && status !== "removed") many++;
  return many;
}

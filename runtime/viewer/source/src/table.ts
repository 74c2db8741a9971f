// The table: the same nodes as text, for those who do not see the picture, and for copying.

import type { App } from "./app";
import { fill, h, some } from "./dom";
import { amount, number, seconds } from "./facts";
import { nameOf } from "./matching";
import { SIGNS } from "./pencil";

export function showTable(app: App, holder: HTMLElement): void {
  const wanted = app.bright;
  const rows = [...app.picture.values()].filter(({ node }) => !wanted || wanted.has(node.uid));
  const heads = ["", "id", "op", "name", "type", "operands", "flops", "bytes", "time", "line of the source"];
  const line = ({ node, status }: (typeof rows)[number]) => {
    const time = app.fact.seconds(node);
    return h(
      "tr",
      {
        class: `${status}${node.uid === app.settings.node ? " here" : ""}`,
        onclick: () => void app.select(node.uid, false),
      },
      h("td", { class: "sign" }, SIGNS[status], status !== "same" && h("span", { class: "unseen" }, status)),
      h("td", {}, node.id),
      h("td", {}, h("button", { class: "link", type: "button" }, node.op)),
      h("td", { class: "name" }, nameOf(node) ?? ""),
      h("td", {}, node.type),
      h("td", {}, node.operands.join(" ")),
      h("td", { class: "bytes" }, amount(number(node.raw.flops))),
      h("td", { class: "bytes" }, amount(number(node.raw.bytes), "B")),
      h("td", { class: "bytes" }, time === null ? "\u2013" : seconds(time)),
      h("td", { class: "muted at" }, node.line ? `${node.file}:${node.line} ${node.source ?? ""}` : ""),
    );
  };
  const stage = app.trace.stages[app.settings.pass];
  fill(
    holder,
    h(
      "table",
      {},
      h("caption", {}, `${rows.length} nodes after pass ${app.settings.pass}, ${stage.name.replaceAll("_", " ")}${wanted ? ", those found" : ""}`),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, some(rows, line, 500)),
    ),
  );
}

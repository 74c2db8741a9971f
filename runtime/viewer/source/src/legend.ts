// Legend: what the colours in the picture say.

import type { App } from "./app";
import { byId, fill, h } from "./dom";
import { counts, moved } from "./difference";
import { SIGNS } from "./pencil";

const WORDS = { added: "new", removed: "gone from here", changed: "changed" };

export function showLegend(app: App): void {
  const tally = counts(app.picture);
  const statuses = (["added", "removed", "changed"] as const).filter((status) => tally[status] || (status === "removed" && moved(app.picture)));
  fill(
    byId("legend"),
    h("h2", {}, app.scheme.legend.title),
    h("ul", {}, app.scheme.legend.entries.map(({ colour, label }) => h("li", {}, h("i", { style: `background:${colour}` }), label))),
    statuses.length > 0 && h("ul", {}, statuses.map((status) => h("li", { class: status }, h("b", {}, SIGNS[status]), WORDS[status]))),
  );
}

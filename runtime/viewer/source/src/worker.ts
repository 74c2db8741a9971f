// The worker: lays out levels off the page's thread, and remembers them.

import { layOut, type Laid, type Level } from "./layout";

const known = new Map<string, Laid>();

export function remembered(level: Level): Laid {
  const key = `${level.id}\n${level.sizes.join(";")}\n${level.edges.join(";")}`;
  let laid = known.get(key);
  if (!laid) {
    laid = layOut(level);
    if (known.size > 4000) known.clear();
    known.set(key, laid);
  }
  return laid;
}

if (typeof document === "undefined") {
  onmessage = (event: MessageEvent<{ job: number; level: Level }>) => {
    const { job, level } = event.data;
    self.postMessage({ job, laid: remembered(level) });
  };
}

// Text on the time line: how wide it is, how it is cut, how times and figures are written.
const LANE = 24, RIGHT = 16, PLOT = 100, STEPS = 44;
const EDGE_WORDS = { no_effect: "no effect" };
const LINE_EDGES = new Set(["inject", "effect", "no_effect", "healed", "failed"]);
const pen = document.createElement("canvas").getContext("2d");

const widthOf = (text, size = 12) => {
  pen.font = `${size}px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif`;
  return pen.measureText(text).width;
};
/** Shortened in the middle, because names differ at their ends. */
const fit = (text, width, size = 12) => {
  if (widthOf(text, size) <= width) return text;
  for (let keep = text.length - 1; keep > 2; keep--) {
    const head = Math.floor(keep * 0.5);
    const short = text.slice(0, head) + "…" + text.slice(text.length - (keep - head));
    if (widthOf(short, size) <= width) return short;
  }
  return "";
};
const seconds = (t, digits = 3) =>
  (t > 0 ? "+" : t < 0 ? "−" : "") + Math.abs(t).toFixed(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "") + " s";
const span = (from, to) => `${seconds(from)} to ${seconds(to)} (${(to - from).toFixed(2)} s)`;
const niceStep = (range, count) => {
  const raw = range / count, power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
};
const milliseconds = (ms) => (ms === null ? "–" : ms >= 1000 ? (ms / 1000).toFixed(2) + " s" : ms.toFixed(1) + " ms");
/** What all of several names begin with, up to a dash. */
const commonStart = (names) => {
  if (names.length < 2) return "";
  let start = names[0];
  for (const name of names) while (!name.startsWith(start)) start = start.slice(0, -1);
  return start.slice(0, start.lastIndexOf("-") + 1);
};

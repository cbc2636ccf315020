// Curves of several runs in one plot.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 640;
const HEIGHT = 300;
const EDGE = { left: 62, right: 14, top: 12, bottom: 34 };
/** Dashes tell the curves apart where colours do not. */
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "1 4", "12 4"];
export const COLOURS = 6;

function s(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/** Round numbers from `low` to `high`. */
function ticks(low, high, count = 5) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

/** The least and the largest value, apart also where there is one alone. */
function span(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = low === high ? Math.max(Math.abs(low) / 2, 1e-3) : 0;
  return [low - room, high + room];
}

/** curves: [{name, xs, ys}]; words: {x, y}. */
export function plot(curves, words) {
  const drawn = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img" });
  drawn.append(s("title", {}, `${words.y} against ${words.x}: ${curves.map((curve) => curve.name).join(", ")}`));
  const points = curves.flatMap((curve) => curve.xs.map((x, i) => [x, curve.ys[i]]))
    .filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  if (!points.length) return drawn;
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [left, right] = span(xs);
  const [low, high] = span(ys);
  const x = (value) => EDGE.left + ((value - left) / (right - left)) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  for (const tick of ticks(low, high)) {
    drawn.append(s("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(tick), y2: y(tick), class: "rule" }));
    drawn.append(s("text", { x: EDGE.left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  for (const tick of ticks(left, right)) {
    drawn.append(s("text", { x: x(tick), y: HEIGHT - EDGE.bottom + 16, "text-anchor": "middle" }, String(tick)));
  }
  drawn.append(s("text", { x: WIDTH - EDGE.right, y: HEIGHT - 4, "text-anchor": "end" }, words.x));
  curves.forEach((curve, number) => {
    const path = curve.xs.map((value, i) => [value, curve.ys[i]])
      .filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b))
      .map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`);
    const colour = `curve colour-${number % COLOURS}`;
    drawn.append(s("polyline", {
      points: path.join(" "), class: colour, "stroke-dasharray": DASHES[number % DASHES.length],
    }));
    if (path.length === 1) {
      const [cx, cy] = path[0].split(",");
      drawn.append(s("circle", { cx, cy, r: 3, class: colour }));
    }
  });
  return drawn;
}

/** The line that stands for a curve. */
export function key(number) {
  const drawn = s("svg", { viewBox: "0 0 32 8", class: "plot-key", "aria-hidden": "true" });
  drawn.append(s("line", {
    x1: 0, x2: 32, y1: 4, y2: 4, class: `curve colour-${number % COLOURS}`,
    "stroke-dasharray": DASHES[number % DASHES.length],
  }));
  return drawn;
}

// What a layer sees of a picture, and what each layer costs.

import { get, newest, post } from "./api.js";
import { button, field, h, picture, select, trying } from "./dom.js";
import { kept } from "./kept.js";
import { model as modelOf } from "./main.js";
import { picker } from "./picker.js";

const FIGURES = ["Output", "Field", "Parameters", "Products"];

export async function show(page, { run }) {
  page.append(h("h1", {}, "Inspect"));
  if (!run) return void page.append(h("p", {}, "There is no run yet: train one on the page Runs."));
  const model = await modelOf(run);
  const found = await trying(() => get("inspect/parts", { run }));
  if (!found) return;
  const view = new View(run, model, found.parts);
  page.append(h("p", { class: "lead" },
    "Choose a layer and move its position, by a click or with the arrow keys: the frame is the receptive field, the ",
    "colour where the trained network really looks."));
  const choose = model.grid ? picker(run, model, (chosen) => view.take(chosen)) : null;
  if (choose) page.append(choose.box);
  page.append(view.box);
  const before = kept(run, "picture");
  const first = choose && trying(choose.heldOut);
  view.chosen = before ?? (await first)?.[0];
  await view.open();
}

class View {
  constructor(run, model, parts) {
    Object.assign(this, { run, model, parts, layer: "", position: [], opening: newest(), looking: newest() });
    const names = Object.keys(parts);
    this.part = select(names.map((name) => [name, name]), names[0], () => this.open());
    this.layers = h("select", { onchange: () => this.takeLayer(this.layers.value) });
    this.image = picture("", "The picture that the layer looks at", { class: "whole" });
    this.effective = picture("", "", { class: "heat", hidden: true });
    this.field = h("div", { class: "extent sees", hidden: true });
    this.spot = h("div", { class: "spot" });
    this.board = h("div", {
      class: "frame looked", tabindex: "0", role: "application",
      "aria-label": "Picture with the field of the chosen position",
      onpointerdown: (event) => this.click(event), onkeydown: (event) => this.key(event),
    }, this.image, this.effective, h("div", { class: "clip" }, this.field), this.spot);
    this.words = h("p", { role: "status", class: "total" });
    this.table = h("div", {});
    this.summary = h("div", {});
    this.box = h("div", { class: "columns" },
      h("div", { class: "left" }, h("div", { class: "row" }, field("Part", this.part), field("Layer", this.layers)),
        this.board, this.words),
      h("div", { class: "right" },
        h("section", { "aria-label": "Cost" }, h("h2", {}, "Layers and their cost"), this.table, this.summary)));
  }

  async take(chosen) {
    this.chosen = chosen;
    await this.look();
  }

  /** The layers of the part. */
  async open() {
    const still = this.opening();
    const found = await trying(() => get("inspect/layers", { run: this.run, part: this.part.value }));
    if (!found || !still()) return;
    this.found = found;
    const seeing = found.layers.filter((each) => each.shape.length === 3 && each.field.length === 2);
    this.layers.replaceChildren(...seeing.map((each) => h("option", { value: each.path }, `${each.path} ${each.kind}`)));
    this.seeing = new Set(seeing.map((each) => each.path));
    this.drawTable();
    this.summary.replaceChildren(...found.summary.map((words) => h("p", {}, words)));
    if (seeing.length) await this.takeLayer(seeing[Math.floor(seeing.length / 2)].path);
  }

  async takeLayer(path) {
    this.layer = path;
    this.layers.value = path;
    this.shape = this.found.layers.find((each) => each.path === path).shape.slice(1);
    this.position = this.shape.map((size) => Math.floor(size / 2));
    for (const [name, row] of this.rows) row.classList.toggle("current", name === path);
    await this.look();
  }

  async look() {
    if (!this.shape) return;
    const still = this.looking();
    const asked = {
      run: this.run, part: this.part.value, layer: this.layer, position: this.position,
      picture: this.chosen?.picture ?? "",
    };
    if (this.chosen) this.image.src = this.chosen.picture;
    const found = await trying(() => post("inspect/field", asked));
    if (!found || !still()) return;
    const [rows, columns] = found.axes;
    this.field.hidden = false;
    const span = (axis) => [axis.first / axis.picture, (axis.last - axis.first + 1) / axis.picture];
    const [[top, height], [left, width]] = [span(rows), span(columns)];
    for (const [name, share] of Object.entries({ top, left, height, width })) this.field.style[name] = `${100 * share}%`;
    const [row, column] = this.position;
    Object.assign(this.spot.style, {
      top: `${(100 * row) / this.shape[0]}%`, left: `${(100 * column) / this.shape[1]}%`,
      height: `${100 / this.shape[0]}%`, width: `${100 / this.shape[1]}%`,
    });
    this.effective.hidden = !found.effective;
    if (found.effective) this.effective.src = found.effective;
    const unit = this.part.value === "decoder" ? "latents" : "pixels";
    const size = (axis) => (axis.whole ? "all" : String(axis.last - axis.first + 1));
    this.words.textContent = `${this.layer}, row ${row + 1}, column ${column + 1} of ${this.shape.join(" × ")}: sees `
      + `${size(rows)} × ${size(columns)} ${unit} of ${rows.picture} × ${columns.picture}`;
  }

  click(event) {
    const box = this.board.getBoundingClientRect();
    const at = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
    this.move(at.map((share, axis) => Math.floor(share * this.shape[axis])));
  }

  key(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    this.move(this.position.map((value, axis) => value + step[axis]));
  }

  move(to) {
    this.position = to.map((value, axis) => Math.min(this.shape[axis] - 1, Math.max(0, value)));
    return this.look();
  }

  drawTable() {
    const most = Math.max(...this.found.layers.map((each) => each.macs), 1);
    this.rows = new Map(this.found.layers.filter((each) => each.parameters || each.macs).map((each) => {
      const share = h("meter", { min: 0, max: 1, "aria-label": "Share of the costliest layer" });
      share.setAttribute("value", String(each.macs / most));
      const name = this.seeing.has(each.path)
        ? button(each.path, () => trying(() => this.takeLayer(each.path)), { class: "plain" }) : each.path;
      const named = h("th", { scope: "row" }, name, h("span", { class: "kind" }, ` ${each.kind}`));
      return [each.path, h("tr", {}, named,
        ...[each.shape.join(" × "), each.whole ? "all" : each.field.join(" × "), thousands(each.parameters),
          [thousands(each.macs), " ", share]].map((shown, i) => h("td", { "data-name": FIGURES[i] }, shown)))];
    }));
    const head = ["Layer", ...FIGURES].map((words) => h("th", { scope: "col" }, words));
    this.table.replaceChildren(h("div", { class: "scroll layers", tabindex: "0", role: "region", "aria-label": "Layers" },
      h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, [...this.rows.values()]))));
  }
}

function thousands(value) {
  for (const [power, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= power) return `${(value / power).toPrecision(3)} ${unit}`;
  }
  return String(value);
}

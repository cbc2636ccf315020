// A picture as its codes: what each sees and reaches, where it occurs, what else could stand there.

import { get, newest, post } from "./api.js";
import { button, field, h, percent, picture, roving, say, select, trying } from "./dom.js";
import { keep, kept } from "./kept.js";
import { go, model as modelOf } from "./main.js";
import { picker } from "./picker.js";

const REST = 60;
/** Milliseconds that a pointer must rest on a code before it is looked up. */

export async function show(page, { run }) {
  page.append(h("h1", {}, "Codes"));
  if (!run) return void page.append(h("p", {}, "There is no run yet: train one on the page Runs."));
  const model = await modelOf(run);
  if (!model.grid) return void page.append(h("p", {}, `${run} is ${model.title}: its pictures have no codes.`));
  const view = new View(run, model);
  const choose = picker(run, model, (chosen) => view.take(chosen));
  page.append(
    h("p", { class: "lead" },
      "Point at a code to see what it sees, what it reaches and where else it occurs. Choose one to see what the ",
      "prior would put there; choose an alternative to put it in."),
    choose.box, view.box,
  );
  const before = kept(run, "picture");
  const first = trying(choose.heldOut);
  const chosen = before?.codes ? before : (await first)?.[0];
  if (chosen) await view.take(chosen);
  return () => view.leave();
}

class View {
  constructor(run, model) {
    Object.assign(this, { run, model, grid: model.grid, past: [], ahead: [], place: null, timer: 0, fields: {}, known: {} });
    Object.assign(this, { book: 0, looking: newest(), choosing: newest() });
    this.image = picture("", "The picture of these codes", { class: "whole" });
    this.seen = h("div", { class: "extent sees", hidden: true });
    this.reached = h("div", { class: "extent reaches", hidden: true });
    this.cells = Array.from({ length: this.grid.height * this.grid.width }, (_, at) => this.cell(at));
    const cells = h("div", { class: "cells", role: "group", "aria-label": "Codes, in rows" }, this.cells);
    cells.style.gridTemplateColumns = `repeat(${this.grid.width}, 1fr)`;
    cells.addEventListener("pointerleave", () => this.away());
    roving(this.cells, this.grid.width);
    this.frame = h("div", { class: this.grid.flat ? "frame flat" : "frame" },
      this.image, this.reached, this.seen, cells);
    this.undoButton = button("Undo", () => this.step(this.past, this.ahead), { disabled: true });
    this.redoButton = button("Redo", () => this.step(this.ahead, this.past), { disabled: true });
    this.heat = h("input", { type: "checkbox", id: "heat", onchange: () => this.draw() });
    this.numbers = h("input", { type: "checkbox", id: "numbers", onchange: () => this.draw() });
    this.total = h("p", { class: "total" });
    this.about = h("section", { class: "about", "aria-live": "polite", "aria-label": "The code pointed at" });
    this.others = h("section", { class: "others", "aria-label": "Alternatives" });
    this.box = h("div", { class: "columns" },
      h("div", { class: "left" }, this.controls(), this.frame, this.total,
        h("p", { class: "legend" },
          h("span", {}, h("span", { class: "key sees" }), " pixels that the code sees"),
          h("span", {}, h("span", { class: "key reaches" }), " pixels that it reaches"))),
      h("div", { class: "right" }, this.others, this.about));
    this.keys = (event) => this.key(event);
    document.addEventListener("keydown", this.keys);
  }

  leave() {
    document.removeEventListener("keydown", this.keys);
    clearTimeout(this.timer);
  }

  controls() {
    const { classes, prior, text, grid } = this.model;
    const label = classes.length && prior
      ? field("Label", (this.label = select([["", "any"], ...classes.map((name) => [name, name])], "",
        () => this.look())))
      : null;
    const caption = text
      ? field("Caption", (this.text = h("input", { type: "text", onchange: () => this.look() })))
      : null;
    const books = Array.from({ length: grid.codebooks }, (_, q) => [String(q), String(q + 1)]);
    const book = grid.codebooks > 1
      ? field("Codebook", select(books, "0", (q) => { this.book = Number(q); this.draw(); }))
      : null;
    return h("div", { class: "row" }, this.undoButton, this.redoButton, label, caption, book,
      prior ? h("label", { class: "check" }, this.heat, " Surprise") : null,
      h("label", { class: "check" }, this.numbers, " Numbers"),
      prior ? button("Complete it", () => go("complete", this.run)) : null);
  }

  cell(at) {
    const made = h("button", {
      type: "button",
      class: "cell",
      onpointerenter: () => this.point(at),
      onfocus: () => this.point(at),
      onclick: () => this.choose(at),
    });
    return made;
  }

  /** Index of a place of the grid among all codes. */
  index(at) {
    return this.book * this.grid.height * this.grid.width + at;
  }

  /** A picture chosen anew. */
  async take(chosen) {
    this.now = { codes: chosen.codes, label: chosen.label ?? "", text: chosen.text ?? "" };
    this.past.length = this.ahead.length = 0;
    this.place = null;
    this.others.replaceChildren();
    if (this.label) this.label.value = this.model.classes.includes(this.now.label) ? this.now.label : "";
    if (this.text) this.text.value = this.now.text;
    this.fieldsOf(0).catch(() => {}); // the first answer takes a moment: it is asked for before anybody waits
    await this.look();
  }

  asked(more = {}) {
    return {
      run: this.run, codes: this.now.codes, label: this.label?.value ?? "", text: this.text?.value ?? "", ...more,
    };
  }

  /** The picture of the codes, and their surprise. */
  async look() {
    const still = this.looking();
    const found = await trying(() => post("codes/look", this.asked()));
    if (!found || !still()) return;
    this.bits = found.bits;
    this.image.src = found.picture;
    this.now = { ...this.now, picture: found.picture, label: this.label?.value ?? "", text: this.text?.value ?? "" };
    keep(this.run, "picture", this.now);
    this.draw();
    if (this.place !== null) await this.alternatives();
  }

  /** Cells, buttons and the sum of bits as they are now. */
  draw() {
    this.undoButton.disabled = !this.past.length;
    this.redoButton.disabled = !this.ahead.length;
    const most = Math.max(...(this.bits ?? [1]), 1e-9);
    this.cells.forEach((cell, at) => {
      const index = this.index(at);
      const bits = this.bits?.[index];
      const [row, column] = [Math.floor(at / this.grid.width), at % this.grid.width];
      cell.style.backgroundColor = this.heat.checked && bits !== undefined
        ? `color-mix(in srgb, var(--heat) ${Math.round((80 * bits) / most)}%, transparent)` : "";
      cell.textContent = this.numbers.checked ? String(this.now.codes[index]) : "";
      cell.setAttribute("aria-label", `row ${row + 1}, column ${column + 1}: code ${this.now.codes[index]}`
        + (bits === undefined ? "" : `, ${bits.toFixed(1)} bits`));
      cell.setAttribute("aria-pressed", String(at === this.place));
    });
    const sum = this.bits?.reduce((a, b) => a + b, 0);
    this.total.textContent = sum === undefined ? "" : `${sum.toFixed(1)} bits for the whole picture`;
  }

  point(at) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => trying(() => this.tell(at)), REST);
  }

  away() {
    clearTimeout(this.timer);
    if (this.place === null) this.seen.hidden = this.reached.hidden = true;
    else this.point(this.place);
  }

  async fieldsOf(at) {
    const [row, column] = [Math.floor(at / this.grid.width), at % this.grid.width];
    this.fields[at] ??= await get("codes/fields", { run: this.run, row, column });
    return this.fields[at];
  }

  /** Use and other places of a code, asked for once. */
  occurrencesOf(code) {
    this.known[`${this.book} ${code}`] ??= post("codes/occurrences", { run: this.run, code, codebook: this.book })
      .catch((error) => ({ error: error.message }));
    return this.known[`${this.book} ${code}`];
  }

  /** Use, field and other places of a code. */
  async tell(at) {
    if (!this.now) return;
    this.pointed = at;
    const code = this.now.codes[this.index(at)];
    if (!this.grid.flat) {
      const found = await this.fieldsOf(at);
      if (this.pointed !== at) return;
      this.outline(this.seen, found.sees);
      this.outline(this.reached, found.reaches);
    }
    const found = await this.occurrencesOf(code);
    if (this.pointed !== at) return;
    const bits = this.bits?.[this.index(at)];
    const places = (found.places ?? []).map((each) => this.occurrence(each));
    this.about.replaceChildren(
      h("h2", {}, `Code ${code}`),
      h("p", {}, found.error ?? `${percent(found.times / found.of)} of all codes of the training pictures: `
        + `${found.times.toLocaleString("en")} of ${found.of.toLocaleString("en")}`,
        bits === undefined ? "" : `; ${bits.toFixed(1)} bits here`),
      places.length ? h("h3", {}, "Where else it occurs") : null,
      h("div", { class: "thumbs small" }, places),
    );
  }

  occurrence(each) {
    const mark = h("span", { class: "mark" });
    place(mark, each.row / this.grid.height, each.column / this.grid.width,
      1 / this.grid.height, 1 / this.grid.width);
    return h("span", { class: "thumb", title: each.name }, picture(each.picture, each.name),
      this.grid.flat ? null : mark);
  }

  outline(box, extent) {
    box.hidden = false;
    const { size } = this.model;
    place(box, extent.top / size, extent.left / size,
      (extent.bottom - extent.top + 1) / size, (extent.right - extent.left + 1) / size);
  }

  /** The likeliest alternatives at a place. */
  async choose(at) {
    this.place = at;
    this.draw();
    this.point(at);
    if (this.model.prior) await this.alternatives();
  }

  async alternatives() {
    const place = this.index(this.place);
    const still = this.choosing();
    const found = await trying(() => post("codes/alternatives", this.asked({ place })));
    if (!found || !still()) return;
    const own = this.now.codes[place];
    const buttons = found.alternatives.map((each) => button("", () => this.put(each.code), {
      class: "thumb choice",
      "aria-label": `code ${each.code}, ${percent(each.probability)}`,
      "aria-pressed": String(each.code === own),
    }));
    buttons.forEach((each, i) => each.append(picture(found.alternatives[i].picture, ""),
      h("span", {}, percent(found.alternatives[i].probability))));
    const focused = this.others.contains(document.activeElement);
    this.others.replaceChildren(
      h("h2", {}, "What the prior would put there"),
      h("p", {}, `The code that is there has ${percent(found.own)}.`),
      h("div", { class: "thumbs", role: "group", "aria-label": "Alternatives, the likeliest first" }, buttons));
    roving(buttons, 1);
    if (focused) buttons.find((each) => each.getAttribute("aria-pressed") === "true")?.focus();
  }

  async put(code) {
    const place = this.index(this.place);
    if (this.now.codes[place] === code) return;
    this.past.push(this.now.codes);
    this.ahead.length = 0;
    const codes = this.now.codes.with(place, code);
    this.now = { ...this.now, codes };
    await this.look();
    say(`Code ${code} is in.`);
  }

  async step(from, to) {
    if (!from.length) return;
    to.push(this.now.codes);
    this.now = { ...this.now, codes: from.pop() };
    await this.look();
  }

  key(event) {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    if (event.target.matches?.("input[type=text]")) return;
    event.preventDefault();
    if (event.shiftKey) this.step(this.ahead, this.past);
    else this.step(this.past, this.ahead);
  }
}

/** Puts a box at shares of its frame. */
function place(box, top, left, height, width) {
  for (const [name, share] of Object.entries({ top, left, height, width })) box.style[name] = `${100 * share}%`;
}

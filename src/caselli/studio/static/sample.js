// New pictures that appear while their codes are drawn, and what can be made of them.

import { post, postForFile } from "./api.js";
import { blobOf, button, commandLine, field, h, picture, roving, save, say, select, slider, trying } from "./dom.js";
import { keep } from "./kept.js";
import { go, model as modelOf } from "./main.js";
import { Working } from "./work.js";

const OPTIONS = [
  ["guidance", "Guidance", { min: 0, max: 6, step: 0.25, value: 1 }],
  ["temperature", "Temperature", { min: 0, max: 2, step: 0.05, value: 1 }],
  ["top_p", "Top-p", { min: 0.05, max: 1, step: 0.05, value: 1 }],
  ["min_p", "Min-p", { min: 0, max: 0.5, step: 0.01, value: 0 }],
];

/** Controls of label, caption, seed, guidance, temperature and truncation; `values` reads, `set` writes them. */
export function drawingControls(model, count, most = 256) {
  const number = (value, min, max) => h("input", { type: "number", value: String(value), min, max, step: 1 });
  const seed = number(0, 0, 9e15);
  const many = number(count, 1, most);
  const topK = number(0, 0, 1e6);
  const { classes } = model;
  const label = classes.length ? select([["", "any"], ...classes.map((name) => [name, name])]) : null;
  const text = model.text ? h("input", { type: "text", placeholder: "a caption" }) : null;
  const own = { guidance: model.guidance ?? 1 };
  const sliders = Object.fromEntries(OPTIONS.map(([name, words, options]) =>
    [name, slider(words, { ...options, value: own[name] ?? options.value })]));
  const strength = () => Number(sliders.guidance.control.value);
  const untouched = strength();
  const box = h("div", { class: "controls" },
    label && field("Label", label), text && field("Caption", text),
    field("Pictures", many), field("Seed", seed), model.prior ? field("Top-k (0 for all)", topK) : null,
    model.prior ? OPTIONS.map(([name]) => sliders[name].box) : null);
  const values = () => ({
    count: Number(many.value), seed: Number(seed.value), label: label?.value ?? "", text: text?.value ?? "",
    top_k: Number(topK.value),
    ...Object.fromEntries(OPTIONS.map(([name]) => [name, Number(sliders[name].control.value)])),
    guidance: strength() === untouched ? null : strength(),
  });
  const set = (asked) => {
    for (const [name, control] of Object.entries({ count: many, seed, label, text, top_k: topK })) {
      if (control && asked[name] !== undefined) control.value = String(asked[name]);
    }
    for (const [name] of OPTIONS) sliders[name].set(asked[name] ?? own[name] ?? sliders[name].control.value);
  };
  return { box, values, set, seed, label, text };
}

export async function show(page, { run }) {
  page.append(h("h1", {}, "Sample"));
  if (!run) return void page.append(h("p", {}, "There is no run yet: train one on the page Runs."));
  const model = await modelOf(run);
  if (model.grid && !model.prior) {
    return void page.append(h("p", {}, `${run} has a tokenizer and no prior yet: it cannot draw.`));
  }
  const view = new View(run, model);
  page.append(view.box);
  view.tellCommand();
  trying(() => view.again());
  return () => view.working.leave();
}

class View {
  constructor(run, model) {
    Object.assign(this, { run, model, pictures: [], codes: null, chosen: new Set() });
    this.controls = drawingControls(model, 8);
    this.drawButton = button("Draw", () => this.draw(), { class: "main" });
    this.stopButton = button("Stop", () => this.working.stop(), { disabled: true });
    this.working = new Working(run, "sample", {
      begun: (asked) => this.begun(asked),
      part: (part, asked) => this.part(part, asked),
      change: (running) => this.change(running),
    });
    this.another = h("input", { type: "checkbox", checked: true, id: "another" });
    this.rate = h("p", { class: "rate", role: "status" });
    this.progress = h("progress", { max: 1, value: 0, "aria-label": "Codes drawn" });
    this.empty = h("p", { class: "empty" }, "Draw: the pictures appear here while their codes are drawn. Closing the ",
      "page stops nothing; they are here when you come back.");
    this.shown = h("div", { class: "thumbs large", role: "group", "aria-label": "Samples" });
    this.strength = slider("Strength", { min: 0, max: 1, step: 0.05, value: 0.5 });
    this.tools = h("div", { class: "row tools", role: "group", "aria-label": "With the chosen pictures" });
    this.command = commandLine();
    this.controls.box.addEventListener("change", () => this.tellCommand());
    this.box = h("div", { class: "columns" },
      h("form", { class: "left", onsubmit: (event) => { event.preventDefault(); this.draw(); } },
        this.controls.box,
        h("label", { class: "check" }, this.another, " A new seed each time"),
        h("div", { class: "row" }, this.drawButton, this.stopButton),
        h("h2", {}, "The same in a terminal"), this.command.box),
      h("div", { class: "right" },
        h("section", { "aria-label": "Drawn" }, this.progress, this.rate, this.empty, this.shown, this.tools)));
    this.drawTools();
  }

  asked(more = {}) {
    return { run: this.run, ...this.controls.values(), ...more };
  }

  async tellCommand() {
    if (!this.controls.box.closest("form").checkValidity()) return;
    const found = await trying(() => post("sample/words", this.asked()));
    if (found) this.command.set(found.command);
  }

  draw() {
    this.tellCommand();
    return this.work("sample/draw", this.asked());
  }

  work(path, asked) {
    return trying(() => this.working.begin(path, asked));
  }

  /** What was drawn last, in this tab or another, or is being drawn. */
  async again() {
    const work = await this.working.last();
    if (!work || this.working.own) return;
    this.controls.set(work.asked);
    this.tellCommand();
    await this.working.follow(work);
  }

  begun(asked) {
    this.empty.hidden = true;
    this.made = { seed: String(asked.seed), label: asked.label, caption: asked.text };
    this.chosen.clear();
    this.codes = null;
    this.drawTools();
  }

  change(running) {
    this.stopButton.disabled = !running;
    if (running) this.progress.removeAttribute("value");
    else this.progress.value = this.codes ? 1 : 0;
  }

  part(part, asked) {
    if (part.drawn !== undefined) this.progress.value = part.drawn / part.of;
    if (part.rate) {
      const unit = this.model.grid ? "tokens" : "pictures";
      this.rate.textContent = `${Math.round(part.rate).toLocaleString("en")} ${unit} per second`;
    }
    if (part.codes !== undefined) {
      this.codes = part.codes;
      if (this.another.checked) this.controls.seed.value = String(asked.seed + asked.count);
    }
    if (this.pictures.length !== part.pictures.length || this.buttons === undefined) this.lay(part.pictures.length);
    this.pictures = part.pictures;
    this.buttons.forEach((each, i) => {
      each.querySelector("img").src = part.pictures[i];
      each.disabled = !this.codes;
      each.setAttribute("aria-pressed", "false");
      each.setAttribute("aria-label", `picture ${i + 1}${asked.label ? `, ${asked.label}` : ""}`);
    });
    if (this.codes) say(`${this.pictures.length} pictures are drawn.`);
    this.drawTools();
  }

  lay(count) {
    this.buttons = Array.from({ length: count }, (_, i) => {
      const made = button("", () => this.toggle(i), { class: "thumb" });
      made.append(picture("", ""));
      return made;
    });
    this.shown.replaceChildren(...this.buttons);
    roving(this.buttons, 4);
  }

  toggle(i) {
    if (!this.chosen.delete(i)) this.chosen.add(i);
    this.buttons[i].setAttribute("aria-pressed", String(this.chosen.has(i)));
    this.drawTools();
  }

  /** The codes of the chosen pictures, of all where none is chosen. */
  picked() {
    return this.chosen.size ? [...this.chosen].map((i) => this.codes[i]) : this.codes;
  }

  drawTools() {
    const count = this.chosen.size;
    if (!this.codes) return void this.tools.replaceChildren();
    const one = count === 1 ? [...this.chosen][0] : null;
    const hint = count ? `${count} chosen` : "Choose pictures: one for more like it, two for the way between";
    this.tools.replaceChildren(...[
      h("p", { class: "hint" }, hint),
      button("Keep", () => trying(() => this.keepThem())),
      button("PNG", () => this.downloadEach()),
      button("Grid", () => trying(() => this.download("gallery/grid", "samples.png"))),
      button("Codes", () => trying(() => this.download("gallery/codes", "codes.safetensors"))),
      one !== null && button("More like this", () => this.near(0.3)),
      one !== null && this.strength.box,
      one !== null && button("Variations", () => this.near(Number(this.strength.control.value))),
      one !== null && button("Change its codes", () => this.hand(one, "codes")),
      one !== null && button("Complete it", () => this.hand(one, "complete")),
      count === 2 && button("The way between", () => this.between()),
    ].filter(Boolean));
  }

  async keepThem() {
    const found = await post("gallery/keep", { run: this.run, codes: this.picked(), about: this.about() });
    say(`Kept in the run's folder: ${found.kept.join(", ")}`);
  }

  about() {
    return Object.fromEntries(Object.entries(this.made ?? {}).filter(([, value]) => value));
  }

  async download(path, name) {
    save(await postForFile(path, { run: this.run, codes: this.picked(), about: this.about() }), name);
  }

  downloadEach() {
    const numbers = this.chosen.size ? [...this.chosen] : this.pictures.map((_, i) => i);
    for (const i of numbers) {
      save(blobOf(this.pictures[i]), `sample-${i + 1}.png`);
    }
  }

  near(strength) {
    const codes = this.codes[[...this.chosen][0]];
    return this.work("sample/variations", this.asked({ codes, strength }));
  }

  between() {
    const [first, last] = [...this.chosen].map((i) => this.codes[i]);
    const count = Math.max(2, this.controls.values().count);
    return this.work("sample/between", this.asked({ first, last, count }));
  }

  hand(i, page) {
    const { label, caption } = this.made ?? {};
    keep(this.run, "picture", {
      codes: this.codes[i], picture: this.pictures[i], label: label ?? "", text: caption ?? "",
    });
    go(page, this.run);
  }
}

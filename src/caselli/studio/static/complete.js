// What is painted over, or lies outside of the picture, is drawn anew.

import { upload } from "./api.js";
import { blobOf, button, field, h, picture, roving, save, say, slider, trying } from "./dom.js";
import { keep, kept } from "./kept.js";
import { go, model as modelOf } from "./main.js";
import { picker } from "./picker.js";
import { drawingControls } from "./sample.js";
import { Working } from "./work.js";

const LARGEST = 1024;
const PAINT = "#e0559b";
/** A colour that few pictures have; what counts is where there is any. */
const HALVES = {
  "Upper half": [0, 0, 1, 0.5], "Lower half": [0, 0.5, 1, 0.5],
  "Left half": [0, 0, 0.5, 1], "Right half": [0.5, 0, 0.5, 1],
};

export async function show(page, { run }) {
  page.append(h("h1", {}, "Complete"));
  if (!run) return void page.append(h("p", {}, "There is no run yet: train one on the page Runs."));
  const model = await modelOf(run);
  if (!model.prior) return void page.append(h("p", {}, `${run} is ${model.title}: it has no prior to draw with.`));
  if (model.grid.flat) {
    return void page.append(h("p", {}, "The codes of this run lie on one axis: no part of a picture can be kept."));
  }
  const view = new View(run, model);
  const choose = picker(run, model, (chosen) => view.take(chosen));
  page.append(
    h("p", { class: "lead" }, "Paint over what is to be made anew, or pull the frame larger than the picture. ",
      "What you keep comes back exactly."),
    choose.box, view.box);
  const before = kept(run, "picture");
  const first = trying(choose.heldOut);
  const last = await trying(() => view.working.last());
  if (last && (!before || before.picture === last.asked.picture)) await view.again(last);
  else {
    const chosen = before ?? (await first)?.[0];
    if (chosen) view.take(chosen);
  }
  return () => view.working.leave();
}

class View {
  constructor(run, model) {
    Object.assign(this, { run, model, past: [], edges: { top: 0, right: 0, bottom: 0, left: 0 } });
    this.painted = h("canvas", { width: model.size, height: model.size });
    this.paper = this.painted.getContext("2d", { willReadFrequently: true });
    this.image = picture("", "The picture to complete", { class: "whole" });
    this.board = h("div", {
      class: "board", tabindex: "0", role: "application", "aria-describedby": "board-keys",
      "aria-label": "Picture to paint on",
    }, this.image, this.painted, (this.brush = h("div", { class: "brush" })));
    this.outside = h("div", { class: "outside" }, this.board, this.handles());
    this.controls = drawingControls(model, 4, 16);
    this.thickness = slider("Brush", { min: 1, max: Math.max(2, model.size >> 1), step: 1, value: Math.max(1, model.size >> 3) });
    this.undoButton = button("Undo", () => this.undo(), { disabled: true });
    this.drawButton = button("Propose", () => this.draw(), { class: "main" });
    this.stopButton = button("Stop", () => this.working.stop(), { disabled: true });
    this.working = new Working(run, "complete", {
      begun: () => this.begun(),
      part: (part, asked) => this.part(part, asked),
      change: (running) => (this.stopButton.disabled = !running),
    });
    this.shown = h("div", { class: "thumbs proposals", role: "group", "aria-label": "Proposals" });
    this.tools = h("div", { class: "row tools" });
    this.frame = this.frameControls();
    this.box = h("div", { class: "columns" },
      h("div", { class: "left" },
        h("div", { class: "row" }, this.undoButton, button("Clear", () => this.clear()),
          Object.entries(HALVES).map(([words, part]) => button(words, () => this.half(part)))),
        this.thickness.box,
        h("div", { class: "stage" }, this.outside),
        h("p", { class: "hint", id: "board-keys" },
          "With the keys: arrows move the brush, Space paints, Shift and Space wipes."),
        h("fieldset", {}, h("legend", {}, "Frame: pixels beyond the picture"), this.frame)),
      h("div", { class: "right" },
        h("section", { "aria-label": "Drawing" }, this.controls.box,
          h("div", { class: "row" }, this.drawButton, this.stopButton), this.shown, this.tools)));
    this.listen();
  }

  // painting -------------------------------------------------------------------------------------------------

  listen() {
    const { board } = this;
    this.at = { x: this.model.size / 2, y: this.model.size / 2 };
    const place = (event) => {
      const box = board.getBoundingClientRect();
      const scale = this.model.size / box.width;
      return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
    };
    board.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();
      board.focus({ preventScroll: true });
      board.setPointerCapture(event.pointerId);
      this.remember();
      this.painting = true;
      this.at = place(event);
      this.dab(this.at, event.shiftKey);
    });
    board.addEventListener("pointermove", (event) => {
      const to = place(event);
      if (this.painting) this.stroke(this.at, to, event.shiftKey);
      this.at = to;
      this.drawBrush();
    });
    for (const end of ["pointerup", "pointercancel"]) board.addEventListener(end, () => (this.painting = false));
    board.addEventListener("keydown", (event) => this.key(event));
    this.thickness.control.addEventListener("input", () => this.drawBrush());
  }

  key(event) {
    const step = Math.max(1, this.model.size / 16);
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (move) {
      const inside = (value) => Math.min(this.model.size, Math.max(0, value));
      this.at = { x: inside(this.at.x + move[0]), y: inside(this.at.y + move[1]) };
      this.drawBrush();
    } else if (event.key === " ") {
      this.remember();
      this.dab(this.at, event.shiftKey);
    } else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      this.undo();
    } else return;
    event.preventDefault();
  }

  drawBrush() {
    const { size } = this.model;
    const width = Number(this.thickness.control.value);
    Object.assign(this.brush.style, {
      width: `${(100 * width) / size}%`, height: `${(100 * width) / size}%`,
      left: `${(100 * (this.at.x - width / 2)) / size}%`, top: `${(100 * (this.at.y - width / 2)) / size}%`,
    });
  }

  dab({ x, y }, wipes) {
    const width = Number(this.thickness.control.value);
    const [left, top] = [Math.round(x - width / 2), Math.round(y - width / 2)];
    if (wipes) this.paper.clearRect(left, top, width, width);
    else {
      this.paper.fillStyle = PAINT;
      this.paper.fillRect(left, top, width, width);
    }
  }

  stroke(from, to, wipes) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)));
    for (let i = 1; i <= steps; i++) {
      this.dab({ x: from.x + ((to.x - from.x) * i) / steps, y: from.y + ((to.y - from.y) * i) / steps }, wipes);
    }
  }

  half([x, y, width, height]) {
    const { size } = this.model;
    this.remember();
    this.paper.clearRect(0, 0, size, size);
    this.paper.fillStyle = PAINT;
    this.paper.fillRect(Math.floor(x * size), Math.floor(y * size), Math.ceil(width * size), Math.ceil(height * size));
  }

  clear() {
    this.remember();
    this.paper.clearRect(0, 0, this.model.size, this.model.size);
  }

  // undo: the painting, the picture and the frame together ---------------------------------------------------

  remember() {
    const { size } = this.model;
    const painting = this.paper.getImageData(0, 0, size, size);
    this.past.push({ painting, now: this.now, edges: { ...this.edges } });
    this.undoButton.disabled = false;
  }

  undo() {
    const before = this.past.pop();
    if (!before) return;
    this.undoButton.disabled = !this.past.length;
    this.now = before.now;
    this.image.src = this.now?.picture ?? "";
    this.paper.putImageData(before.painting, 0, 0);
    Object.assign(this.edges, before.edges);
    this.drawFrame();
  }

  take(chosen) {
    if (this.now) this.remember();
    this.now = chosen;
    keep(this.run, "picture", chosen);
    this.image.src = chosen.picture;
    this.paper.clearRect(0, 0, this.model.size, this.model.size);
    if (this.controls.label) {
      this.controls.label.value = this.model.classes.includes(chosen.label) ? chosen.label : "";
    }
    if (this.controls.text) this.controls.text.value = chosen.text ?? "";
    this.drawFrame();
    this.drawBrush();
  }

  /** What was completed last, in this tab or another, or is being completed: picture, painting, frame, proposals. */
  async again(work) {
    const { size } = this.model;
    const { picture: address, painted, width, height, left, top, label, text } = work.asked;
    this.take({ ...kept(this.run, "picture"), picture: address, label, text });
    this.controls.set(work.asked);
    if (painted) await this.paint(painted);
    if (width) this.edges = { top, left, right: width - size - left, bottom: height - size - top };
    this.drawFrame();
    trying(() => this.working.follow(work));
  }

  /** Paints what is white in a picture. */
  async paint(address) {
    const { size } = this.model;
    const image = picture(address, "");
    await image.decode();
    this.paper.drawImage(image, 0, 0);
    const { data } = this.paper.getImageData(0, 0, size, size);
    this.paper.clearRect(0, 0, size, size);
    this.paper.fillStyle = PAINT;
    for (let at = 0; at < size * size; at++) {
      if (data[4 * at] > 127) this.paper.fillRect(at % size, Math.floor(at / size), 1, 1);
    }
  }

  // the frame ------------------------------------------------------------------------------------------------

  frameControls() {
    this.numbers = {};
    const boxes = Object.keys(this.edges).map((side) => {
      const control = h("input", { type: "number", min: 0, max: LARGEST, step: 1, value: "0" });
      control.addEventListener("change", () => {
        this.remember();
        this.pull(side, Number(control.value));
      });
      this.numbers[side] = control;
      return field(side[0].toUpperCase() + side.slice(1), control);
    });
    return h("div", { class: "controls narrow" }, boxes);
  }

  /** Edges that can be pulled; the number fields do the same for the keyboard. */
  handles() {
    return Object.keys(this.edges).map((side) => {
      const handle = h("div", { class: `handle ${side}`, "aria-hidden": "true" });
      handle.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        handle.setPointerCapture(event.pointerId);
        this.remember();
        const scale = this.model.size / this.board.getBoundingClientRect().width;
        const begin = { x: event.clientX, y: event.clientY, edge: this.edges[side] };
        const sign = { left: -1, top: -1, right: 1, bottom: 1 }[side];
        const along = side === "left" || side === "right" ? "x" : "y";
        const name = along === "x" ? "clientX" : "clientY";
        const move = (to) => this.pull(side, begin.edge + sign * (to[name] - begin[along]) * scale);
        handle.addEventListener("pointermove", move);
        for (const end of ["pointerup", "pointercancel"]) {
          handle.addEventListener(end, () => handle.removeEventListener("pointermove", move), { once: true });
        }
      });
      return handle;
    });
  }

  pull(side, pixels) {
    const other = { left: "right", right: "left", top: "bottom", bottom: "top" }[side];
    const most = LARGEST - this.model.size - this.edges[other];
    this.edges[side] = Math.round(Math.min(most, Math.max(0, pixels)));
    this.drawFrame();
  }

  drawFrame() {
    const { size } = this.model;
    const { top, right, bottom, left } = this.edges;
    const [width, height] = [size + left + right, size + top + bottom];
    this.outside.style.aspectRatio = `${width} / ${height}`;
    this.outside.style.width = `min(100%, ${(30 * width) / Math.max(width, height)}rem)`;
    Object.assign(this.board.style, {
      left: `${(100 * left) / width}%`, top: `${(100 * top) / height}%`, width: `${(100 * size) / width}%`,
    });
    for (const [side, control] of Object.entries(this.numbers)) control.value = String(this.edges[side]);
  }

  // proposals ------------------------------------------------------------------------------------------------

  draw() {
    if (!this.now) return say("Choose a picture first.", true);
    const { top, right, bottom, left } = this.edges;
    const { size } = this.model;
    const larger = top + right + bottom + left > 0;
    const asked = {
      run: this.run, ...this.controls.values(), picture: this.now.picture, painted: this.mask(),
      ...(larger ? { width: size + left + right, height: size + top + bottom, left, top } : {}),
    };
    return trying(() => this.working.begin("complete/draw", asked));
  }

  begun() {
    this.made = [];
    this.shown.replaceChildren();
    this.tools.replaceChildren();
    say("Drawing.");
  }

  part(part, asked) {
    this.made.push(part.pictures[0]);
    this.propose(this.made, Boolean(asked.width));
    if (this.made.length < asked.count) return;
    say(`${this.made.length} proposals are drawn.`);
    this.controls.seed.value = String(asked.seed + asked.count);
  }

  /** The painting as a picture: white where it is to be made anew. */
  mask() {
    const { size } = this.model;
    const flat = h("canvas", { width: size, height: size });
    const paper = flat.getContext("2d");
    paper.drawImage(this.painted, 0, 0);
    for (const [where, colour] of [["source-in", "#fff"], ["destination-over", "#000"]]) {
      paper.globalCompositeOperation = where;
      paper.fillStyle = colour;
      paper.fillRect(0, 0, size, size);
    }
    return flat.toDataURL("image/png");
  }

  propose(made, larger) {
    const buttons = made.map((each, i) => {
      const one = button("", () => this.choose(made, i, larger, buttons), {
        class: "thumb", "aria-pressed": "false", "aria-label": `proposal ${i + 1}`,
      });
      one.append(picture(each, `proposal ${i + 1}`, { class: larger ? "free" : "" }));
      return one;
    });
    this.shown.replaceChildren(...buttons);
    roving(buttons, 2);
  }

  choose(made, i, larger, buttons) {
    buttons.forEach((each, k) => each.setAttribute("aria-pressed", String(k === i)));
    this.tools.replaceChildren(...[
      button("PNG", () => save(blobOf(made[i]), `completed-${i + 1}.png`)),
      !larger && button("Go on from it", () => this.take({ ...this.now, codes: undefined, picture: made[i] })),
      !larger && button("Change its codes", () => trying(() => this.codes(made[i]))),
    ].filter(Boolean));
  }

  async codes(address) {
    const found = await upload("codes/encode", { run: this.run }, blobOf(address));
    keep(this.run, "picture", { ...this.now, codes: found.codes, picture: address });
    go("codes", this.run);
  }
}

// The comparisons of the folder, and one picture before and after.

import { linked } from "./api.js";
import { button, field, h, picture, select, trying } from "./dom.js";
import { kept } from "./kept.js";
import { model as modelOf } from "./main.js";
import { picker } from "./picker.js";
import { Working } from "./work.js";

const KINDS = {
  codec: "the codec",
  slim: "another run",
  upscaling: "upscaling",
};

export async function show(page, { run, all }) {
  page.append(h("h1", {}, "Compare"), h("p", { class: "lead" },
    "One picture before and after the codec, a smaller run or upscaling; and the page of every comparison and run."));
  if (!run) return void page.append(h("p", {}, "There is no run yet: train one on the page Runs."));
  const model = await modelOf(run);
  if (!model.grid) return void page.append(h("p", {}, `${run} is ${model.title}: it has no tokenizer.`), pages(all));
  const view = new BeforeAfter(run, model, all);
  const choose = picker(run, model, (chosen) => view.take(chosen));
  page.append(choose.box, view.box, pages(all));
  const before = kept(run, "picture");
  const first = trying(choose.heldOut);
  const last = await trying(() => view.working.last());
  if (last && (!before || before.picture === last.asked.picture)) view.again(last);
  else {
    const chosen = before ?? (await first)?.[0];
    if (chosen) view.take(chosen);
  }
  return () => view.working.leave();
}

/** The pages of comparisons, and the reports of runs. */
function pages(all) {
  const found = [
    ...all.comparisons.map((name) => [linked("compare/page", { name }), `comparison ${name}`]),
    ...all.runs.filter((run) => run.state === "trained")
      .map((run) => [linked("compare/report", { name: run.name }), `report of ${run.title}`]),
  ];
  if (!found.length) return h("p", {}, "There is no page of a comparison yet: caselli compare writes one.");
  const frame = h("iframe", { title: "The page", class: "page-frame", hidden: true, sandbox: "" });
  const chosen = select([["", "none"], ...found], "", (address) => {
    frame.hidden = !address;
    if (address) frame.src = address;
  });
  return h("section", { class: "card", "aria-label": "Pages" }, h("h2", {}, "Pages"),
    h("div", { class: "row" }, field("Page", chosen)), frame);
}

class BeforeAfter {
  constructor(run, model, all) {
    Object.assign(this, { run, model });
    const kinds = Object.entries(KINDS).filter(([kind]) =>
      (kind !== "codec" || model.prior) && (kind !== "upscaling" || model.smaller));
    const others = all.runs.filter((each) => each.kind === "two_stage").map((each) => [each.name, each.title]);
    this.kind = select(kinds, "", () => this.look());
    this.other = select(others, others.find(([name]) => name !== run)?.[0] ?? run, () => this.look());
    this.otherBox = field("The run after", this.other);
    this.before = picture("", "Before", { class: "whole" });
    this.after = picture("", "After", { class: "whole after" });
    this.edge = h("div", { class: "edge" });
    this.slide = h("input", {
      type: "range", min: 0, max: 100, value: "50", "aria-label": "Share that is shown as it was before",
      oninput: () => this.draw(),
    });
    this.frame = h("div", {
      class: "frame pulled", onpointerdown: (event) => this.pull(event), onpointermove: (event) => this.pull(event),
    }, this.before, this.after, this.edge);
    this.words = h("p", { class: "sides" });
    this.stopButton = button("Stop", () => this.working.stop(), { disabled: true });
    this.working = new Working(run, "compare", {
      begun() {},
      part: (part) => this.show(part),
      change: (running) => (this.stopButton.disabled = !running),
    });
    this.between = h("p", {});
    this.hint = h("p", { class: "hint" }, "Drag the edge in the picture, or move the slider below it.");
    this.left = h("div", { class: "left", hidden: true }, this.frame, this.slide, this.words, this.hint);
    this.box = h("div", { class: "columns" }, this.left,
      h("div", { class: "right" }, h("section", { "aria-label": "Before and after" },
        h("div", { class: "row" }, field("Before and after", this.kind), this.otherBox, button("Look", () => this.look()), this.stopButton),
        this.between)));
    this.draw();
  }

  /** The edge goes where the pointer is held. */
  pull(event) {
    if (!event.buttons) return;
    event.preventDefault();
    const { left, width } = this.frame.getBoundingClientRect();
    this.slide.value = String((100 * (event.clientX - left)) / width);
    this.draw();
  }

  take(chosen) {
    this.chosen = chosen;
    return this.look();
  }

  /** What was looked at last, or is being made. */
  again(work) {
    const { picture: address, label, kind, other } = work.asked;
    this.chosen = { picture: address, label };
    this.kind.value = kind;
    if (other) this.other.value = other;
    this.otherBox.hidden = kind !== "slim";
    return this.make(() => this.working.follow(work));
  }

  async look() {
    const kind = this.kind.value;
    this.otherBox.hidden = kind !== "slim";
    if (!kind || !this.chosen) return;
    const { picture: address, label = "" } = this.chosen;
    const asked = { run: this.run, picture: address, kind, other: this.other.value, label };
    await this.make(() => this.working.begin("compare/slider", asked));
  }

  /** Shows what is made; where it is refused there are words alone. */
  async make(work) {
    if ((await trying(work)) !== undefined) return;
    this.left.hidden = true;
    this.between.textContent = "";
  }

  show(found) {
    this.before.src = found.before;
    this.after.src = found.after;
    const [left, right] = found.words;
    const between = found.psnr === null ? "the two are equal" : `PSNR between the two: ${found.psnr.toFixed(1)} dB`;
    this.words.replaceChildren(h("span", {}, left), h("span", {}, right));
    this.between.textContent = between;
    this.left.hidden = false;
    this.draw();
  }

  draw() {
    const share = this.slide.value;
    this.after.style.clipPath = `inset(0 0 0 ${share}%)`;
    this.edge.style.left = `${share}%`;
  }
}

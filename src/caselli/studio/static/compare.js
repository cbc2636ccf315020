// The comparisons of the folder, and one picture before and after.

import { linked, post } from "./api.js";
import { button, field, h, picture, select, trying } from "./dom.js";
import { kept } from "./kept.js";
import { model as modelOf } from "./main.js";
import { picker } from "./picker.js";

const KINDS = {
  codec: "The codec: as it was, and from its codes",
  slim: "Slim: two runs",
  upscaling: "Upscaling: enlarged, and drawn",
};

export async function show(page, { run, all }) {
  page.append(h("h1", {}, "Compare"), pages(all));
  page.append(h("h2", {}, "Before and after"));
  if (!run) return void page.append(h("p", {}, "There is no run yet: train one on the page Runs."));
  const model = await modelOf(run);
  if (!model.grid) return void page.append(h("p", {}, `${run} is ${model.title}: it has no tokenizer.`));
  const view = new BeforeAfter(run, model, all);
  const choose = picker(run, model, (chosen) => view.take(chosen));
  page.append(choose.box, view.box);
  const before = kept(run, "picture");
  if (before?.picture) await view.take(before);
  else {
    const first = await trying(choose.heldOut);
    if (first?.length) await view.take(first[0]);
  }
}

/** The pages of comparisons, and the reports of runs. */
function pages(all) {
  const found = [
    ...all.comparisons.map((name) => [linked("compare/page", { name }), `comparison ${name}`]),
    ...all.runs.filter((run) => run.state === "trained")
      .map((run) => [linked("compare/report", { name: run.name }), `report of ${run.title}`]),
  ];
  if (!found.length) return h("p", {}, "There is no page yet: `caselli compare` and `caselli train` write them.");
  const frame = h("iframe", { title: "The page", class: "page-frame", hidden: true, sandbox: "" });
  const chosen = select([["", "none"], ...found], "", (address) => {
    frame.hidden = !address;
    if (address) frame.src = address;
  });
  return h("section", { "aria-label": "Pages" },
    h("p", { class: "lead" }, "The page of every comparison in the folder, and the report of every run."),
    field("Page", chosen), frame);
}

class BeforeAfter {
  constructor(run, model, all) {
    Object.assign(this, { run, model });
    const kinds = Object.entries(KINDS).filter(([kind]) =>
      (kind !== "codec" || model.prior) && (kind !== "upscaling" || model.smaller));
    const others = all.runs.filter((each) => each.kind === "two_stage").map((each) => [each.name, each.title]);
    this.kind = select(kinds, "", () => this.look());
    this.other = select(others, others.find(([name]) => name !== run)?.[0] ?? run, () => this.look());
    this.otherBox = field("The other run", this.other);
    this.before = picture("", "Before", { class: "whole" });
    this.after = picture("", "After", { class: "whole after" });
    this.edge = h("div", { class: "edge" });
    this.slide = h("input", {
      type: "range", min: 0, max: 100, value: "50", "aria-label": "Share that is shown as it was before",
      oninput: () => this.draw(),
    });
    this.words = h("p", { class: "sides" });
    this.box = h("div", {},
      h("div", { class: "row" }, field("What", this.kind), this.otherBox, button("Look", () => this.look())),
      h("div", { class: "slider" }, h("div", { class: "frame" }, this.before, this.after, this.edge), this.slide, this.words));
    this.draw();
  }

  async take(chosen) {
    this.chosen = chosen;
    await this.look();
  }

  async look() {
    const kind = this.kind.value;
    this.otherBox.hidden = kind !== "slim";
    if (!kind || !this.chosen) return;
    const asked = { run: this.run, picture: this.chosen.picture, kind, other: this.other.value, label: this.chosen.label ?? "" };
    const found = await trying(() => post("compare/slider", asked));
    if (!found) return;
    this.before.src = found.before;
    this.after.src = found.after;
    const [left, right] = found.words;
    const between = found.psnr === null ? "" : `PSNR ${found.psnr.toFixed(1)} dB`;
    this.words.replaceChildren(h("span", {}, left), h("span", {}, between), h("span", {}, right));
    this.draw();
  }

  draw() {
    const share = this.slide.value;
    this.after.style.clipPath = `inset(0 0 0 ${share}%)`;
    this.edge.style.left = `${share}%`;
  }
}

// Every run of the folder: side by side, live, begun and stopped.

import { get, linked, newest, post } from "./api.js";
import { button, commandLine, field, h, picture, say, select, trying } from "./dom.js";
import { forget, go, refresh } from "./main.js";
import { key, plot } from "./plot.js";

const EVERY = 2000;
/** Milliseconds between two looks at runs that are under way. */

export async function show(page, { run, all }) {
  const view = new View(run, all);
  page.append(h("h1", {}, "Runs"), h("p", { class: "lead" }, `In ${all.folder}`), view.box);
  await view.look();
  return () => view.leave();
}

class View {
  constructor(run, all) {
    const names = all.runs.map((each) => each.name);
    this.chosen = new Set([run, ...names].filter(Boolean).slice(0, 1));
    for (const each of all.runs.filter((one) => one.running)) this.chosen.add(each.name);
    Object.assign(this, { all, found: {}, steps: {}, figure: "", against: "seconds", gone: false });
    this.looking = newest();
    this.list = h("div", { class: "list" });
    this.drawings = h("div", {});
    this.plotted = h("section", { class: "plotted", "aria-label": "Curves" });
    this.details = h("div", { class: "details" });
    this.box = h("div", {}, all.may_begin ? this.beginning() : null,
      this.list, this.drawings, h("div", { class: "overview" }, this.plotted, this.details));
  }

  leave() {
    this.gone = true;
    clearTimeout(this.timer);
  }

  /** The form that begins a run. */
  beginning() {
    const sets = h("datalist", { id: "sets" }, ["glyphs", "digits"].map((value) => h("option", { value })));
    const source = h("input", { type: "text", value: "glyphs", list: "sets", required: true });
    const name = h("input", { type: "text", value: this.free(), required: true, maxlength: 64 });
    const recipes = Object.keys(this.all.recipes).map((each) => [each, each]);
    const recipe = select(recipes, "tiny");
    const minutes = h("input", { type: "number", value: "5", min: 0.1, step: 0.1, required: true });
    const size = h("input", { type: "number", min: 4, step: 1, placeholder: "their own" });
    const command = commandLine();
    const about = h("p", { class: "hint" });
    const asked = () => ({
      source: source.value, name: name.value, recipe: recipe.value, minutes: Number(minutes.value),
      size: size.value ? Number(size.value) : null,
    });
    const telling = newest();
    const tell = async () => {
      const still = telling();
      about.textContent = this.all.recipes[recipe.value] ?? "";
      const found = await post("runs/words", asked()).catch(() => null);
      if (still()) command.set(found?.command ?? "");
    };
    const begin = () => trying(async () => {
      await post("runs/train", asked());
      say(`${name.value} is under way.`);
      this.chosen.add(name.value);
      await this.look();
      name.value = this.free();
      tell();
    });
    const form = h("form", { onsubmit: (event) => { event.preventDefault(); begin(); }, oninput: tell, onchange: tell },
      sets,
      h("div", { class: "controls" }, field("Pictures", source, "glyphs, digits, or the path of a folder"),
        field("Name of the run", name), field("Recipe", recipe), field("Minutes", minutes),
        field("Size in pixels", size)),
      about, command.box,
      h("div", { class: "row" }, h("button", { type: "submit", class: "main" }, "Train")));
    tell();
    return h("details", { class: "begin", open: !this.all.runs.length }, h("summary", {}, "Train a new run"), form);
  }

  free() {
    const names = new Set(this.all.runs.map((each) => each.name));
    for (let number = 1; ; number++) if (!names.has(`run-${number}`)) return `run-${number}`;
  }

  /** Reads the list and the chosen runs, and looks again while one is under way. */
  async look() {
    clearTimeout(this.timer);
    const still = this.looking();
    const all = await trying(refresh);
    if (this.gone || !still()) return;
    if (all) this.all = all;
    const names = this.all.runs.map((each) => each.name);
    for (const name of [...this.chosen].filter((each) => names.includes(each))) {
      const before = this.found[name]?.running;
      this.found[name] = (await trying(() => get("runs/one", { run: name }))) ?? this.found[name];
      if (before && !this.found[name]?.running) forget(name);
    }
    if (this.gone || !still()) return;
    this.drawList();
    this.drawDrawings();
    this.drawPlot();
    this.drawDetails();
    if (this.all.works.length || this.all.runs.some((each) => each.running)) this.timer = setTimeout(() => this.look(), EVERY);
  }

  drawList() {
    if (!this.all.runs.length) {
      this.list.replaceChildren(h("p", {}, "There is no run yet."));
      return;
    }
    const rows = this.all.runs.map((each) => {
      const box = h("input", {
        type: "checkbox", checked: this.chosen.has(each.name), "aria-label": `Show ${each.title}`,
        onchange: () => { if (!this.chosen.delete(each.name)) this.chosen.add(each.name); this.look(); },
      });
      const figures = each.figures.slice(0, 4).map(([label, number, unit]) => `${label} ${number} ${unit}`.trim());
      const look = each.look ? this.pictureOf(each, each.look, "") : null;
      return h("tr", {}, h("td", {}, box), h("td", { class: "look" }, look), h("th", { scope: "row" }, each.title),
        h("td", {}, h("span", { class: `state ${each.running ? "running" : ""}` }, each.state)),
        h("td", {}, each.source), h("td", {}, figures.join(" · ") || each.error));
    });
    const head = ["Show", "Look", "Run", "State", "Pictures", "Figures"].map((words) => h("th", { scope: "col" }, words));
    const held = this.list.querySelector(":focus")?.getAttribute("aria-label");
    this.list.replaceChildren(h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "All runs" },
      h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))));
    if (held) this.list.querySelector(`[aria-label="${CSS.escape(held)}"]`)?.focus();
  }

  /** Drawings that go on, whether their pages are open or not. */
  drawDrawings() {
    const items = this.all.works.map((work) => h("li", { class: "row" },
      h("span", { class: "state running" }, "drawing"), ` ${work.page} of ${work.run} `,
      work.page === "picker" ? null : button("Open", () => go(work.page, work.run)),
      button("Stop", () => trying(async () => { await post("work/stop", { id: work.id }); await this.look(); }))));
    this.drawings.replaceChildren(...(items.length ? [h("ul", { class: "keys" }, items)] : []));
  }

  shown() {
    return [...this.chosen].map((name) => this.found[name]).filter(Boolean);
  }

  drawPlot() {
    const runs = this.shown();
    const curves = runs.flatMap((run) => run.curves.map((curve) => ({ run, ...curve })));
    const ids = new Map(curves.map((each) => [idOf(each), `${each.stage}: ${each.label}, ${each.split}`]));
    if (!ids.size) return void this.plotted.replaceChildren();
    if (!ids.has(this.figure)) {
      this.figure = [...ids.keys()].findLast((id) => id.endsWith("/train/loss")) ?? ids.keys().next().value;
    }
    const chosen = curves.filter((each) => idOf(each) === this.figure);
    const inMinutes = this.against === "seconds";
    const lines = chosen.map((each) => ({
      name: each.run.title, xs: inMinutes ? each.seconds.map((x) => (x === null ? NaN : x / 60)) : each.steps, ys: each.values,
    }));
    const held = document.activeElement?.id;
    this.plotted.replaceChildren(
      h("h2", {}, "Curves"),
      h("div", { class: "row" },
        field("Curve", Object.assign(select([...ids].sort((a, b) => a[1].localeCompare(b[1])), this.figure,
          (id) => { this.figure = id; this.drawPlot(); }), { id: "curve" })),
        field("Against", Object.assign(select([["seconds", "minutes"], ["steps", "steps"]], this.against,
          (value) => { this.against = value; this.drawPlot(); }), { id: "against" }))),
      plot(lines, { x: inMinutes ? "minutes" : "steps", y: ids.get(this.figure) }),
      h("ul", { class: "legend keys" }, lines.map((each, number) => h("li", {}, key(number), ` ${each.name}`))));
    if (["curve", "against"].includes(held)) document.getElementById(held)?.focus();
  }

  drawDetails() {
    const held = document.activeElement?.dataset?.key;
    this.details.replaceChildren(...this.shown().map((run) => this.detail(run)));
    if (held) this.details.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus();
  }

  detail(run) {
    const rate = run.curves.filter((each) => each.figure === "samples_per_second").at(-1)?.values.at(-1);
    const left = run.left === null || run.left === undefined ? "" : `about ${duration(run.left)} left`;
    const speed = run.running && rate ? `${left ? ", " : ""}${Math.round(rate).toLocaleString("en")} pictures a second` : "";
    const act = (words, work, name) => button(words, () => trying(work), { "data-key": `${run.name} ${name}` });
    const tools = [
      run.running && act("Stop", () => this.stop(run), "stop"),
      !run.running && ["stopped", "in part"].includes(run.state) && act("Go on", () => this.resume(run), "resume"),
      run.state === "trained" && act("Sample", async () => go("sample", run.name), "sample"),
      run.state === "trained" && act("Codes", async () => go("codes", run.name), "codes"),
    ];
    const pictures = run.pictures.filter(({ name }) => !name.startsWith("progress/")).slice(0, 4)
      .map((each) => h("figure", {}, this.pictureOf(run, each), h("figcaption", {}, each.name)));
    const figures = run.figures.map(([label, number, unit]) =>
      h("div", {}, h("dt", {}, label), h("dd", {}, `${number} ${unit}`)));
    return h("article", { class: "run-detail", "aria-label": run.title },
      h("div", { class: "title" }, h("h2", {}, run.title),
        h("span", { class: `state ${run.running ? "running" : ""}` }, run.state), h("span", {}, `${left}${speed}`)),
      run.error ? h("p", { class: "error" }, run.error) : null,
      h("div", { class: "row" }, tools.filter(Boolean)),
      h("dl", { class: "figures" }, figures),
      this.sharper(run),
      pictures,
      run.job ? h("pre", { tabindex: "0", "aria-label": "Command" }, run.job.command) : null,
      h("details", {}, h("summary", {}, "What it said"), h("pre", { tabindex: "0" }, run.said.join("\n"))));
  }

  /** A picture of a run; the browser keeps it until it is made anew. */
  pictureOf(run, { name, made }, alt = name) {
    return picture(linked("runs/picture", { run: run.name, name, made }), alt);
  }

  /** Pictures above their reconstructions, and a slider through the steps at which they were looked at. */
  sharper(run) {
    const found = run.pictures.filter(({ name }) => name.startsWith("progress/"))
      .sort((a, b) => a.name.localeCompare(b.name));
    if (!found.length) return null;
    const last = found.length - 1;
    const shown = h("figure", {});
    const show = (index) => {
      const step = Number(found[index].name.match(/(\d+)\.png$/)[1]).toLocaleString("en");
      shown.replaceChildren(this.pictureOf(run, found[index], "Pictures, and below each its reconstruction"),
        h("figcaption", {}, `Held-out pictures, and below them what their codes keep, after ${step} steps`));
    };
    const control = h("input", {
      type: "range", min: 0, max: last, value: String(this.steps[run.name] ?? last),
      "aria-label": "Look back at earlier reconstructions", "data-key": `${run.name} steps`,
      oninput: () => {
        const index = Number(control.value);
        if (index === last) delete this.steps[run.name]; // the newest one, also of those to come
        else this.steps[run.name] = index;
        show(index);
      },
    });
    show(Number(control.value));
    return h("div", { class: "sharper" }, shown, last ? control : null);
  }

  async stop(run) {
    await post("runs/stop", { run: run.name });
    say(`${run.title} stops as soon as its checkpoint is written.`);
    await this.look();
  }

  async resume(run) {
    await post("runs/train", { source: run.source, name: run.name, resume: true });
    say(`${run.title} goes on.`);
    await this.look();
  }
}

function idOf(curve) {
  return `${curve.stage}/${curve.split}/${curve.figure}`;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

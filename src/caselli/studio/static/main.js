// The frame: which page, which run.

import { get } from "./api.js";
import { h, say, trying } from "./dom.js";
import * as codes from "./codes.js";
import * as compare from "./compare.js";
import * as complete from "./complete.js";
import * as inspect from "./inspect.js";
import * as runs from "./runs.js";
import * as sample from "./sample.js";

const PAGES = { runs, sample, codes, complete, compare, inspect };
const TITLES = {
  runs: "Runs", sample: "Sample", codes: "Codes", complete: "Complete", compare: "Compare", inspect: "Inspect",
};

const main = document.getElementById("page");
const chooser = document.getElementById("run");
const state = { all: null, run: "", models: {} };
let leave = () => {};
let shown = 0;

/** The page and the run in the address: #codes/demo. */
function place() {
  const [page, ...rest] = location.hash.slice(1).split("/").map(decodeURIComponent);
  return { page: page in PAGES ? page : "runs", run: rest.join("/") };
}

export function go(page, run = state.run) {
  const to = `#${page}${run ? `/${encodeURIComponent(run)}` : ""}`;
  if (location.hash === to) show();
  else location.hash = to;
}

/** Reads the list of runs anew. */
export async function refresh() {
  state.all = await get("runs/all");
  const names = state.all.runs.map((run) => run.name);
  if (!names.includes(state.run)) {
    state.run = state.all.runs.find((run) => run.state === "trained")?.name ?? names[0] ?? "";
  }
  const options = state.all.runs.map((run) => h("option", { value: run.name }, run.title));
  chooser.replaceChildren(...(options.length ? options : [h("option", { value: "" }, "none yet")]));
  chooser.value = state.run;
  return state.all;
}

/** What the controls need to know of a run; it is loaded for it. */
export async function model(run) {
  state.models[run] ??= get("sample/model", { run });
  try {
    return await state.models[run];
  } catch (error) {
    delete state.models[run];
    throw error;
  }
}

export function forget(run) {
  delete state.models[run];
}

async function show() {
  const own = ++shown;
  leave();
  leave = () => {};
  await trying(refresh);
  if (own !== shown) return;
  const { page, run } = place();
  if (run && state.all?.runs.some((each) => each.name === run)) state.run = run;
  chooser.value = state.run;
  document.title = `${TITLES[page]} – Caselli studio`;
  drawPages(page);
  const fresh = h("div", { class: `page ${page}` });
  main.replaceChildren(fresh);
  say("");
  const left = await trying(() => PAGES[page].show(fresh, { ...state }));
  if (own === shown) leave = left ?? leave;
  else left?.();
  main.dataset.ready = page;
}

function drawPages(current) {
  const links = Object.entries(TITLES).map(([page, title]) =>
    h("a", {
      href: `#${page}${state.run ? `/${encodeURIComponent(state.run)}` : ""}`,
      "aria-current": page === current ? "page" : undefined,
    }, title),
  );
  document.getElementById("pages").replaceChildren(...links);
}

chooser.addEventListener("change", () => go(place().page, chooser.value));
window.addEventListener("hashchange", show);
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
show();

// Elements without HTML from strings: text is always text.

/** An element: attributes, `on…` listeners, properties that have no attribute, children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "htmlFor", "indeterminate"]);

let number = 0;
/** A control with its label before it. */
export function field(words, control, hint = "") {
  control.id ||= `field-${++number}`;
  const about = hint ? h("span", { class: "hint", id: `${control.id}-hint` }, hint) : null;
  if (about) control.setAttribute("aria-describedby", about.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, words), control, about);
}

/** A slider with its label and its value. */
export function slider(words, options, change = () => {}) {
  const shown = h("output", {}, String(options.value));
  const control = h("input", { type: "range", ...options });
  shown.htmlFor = control.id ||= `field-${++number}`;
  control.addEventListener("input", () => {
    shown.value = control.value;
    change(Number(control.value));
  });
  const box = h("div", { class: "field" }, h("label", { for: control.id }, words, " ", shown), control);
  return { box, control, set: (value) => ((control.value = value), (shown.value = control.value)) };
}

export function select(options, chosen = "", change = () => {}) {
  const made = options.map(([value, words]) => h("option", { value, selected: value === chosen }, words));
  return h("select", { onchange: (event) => change(event.target.value) }, made);
}

export function button(words, click, attributes = {}) {
  return h("button", { type: "button", onclick: click, ...attributes }, words);
}

export function picture(source, alt, attributes = {}) {
  return h("img", { src: source, alt, ...attributes });
}

const SHOWN = 6000;
/** Milliseconds that a sentence stays, unless something went wrong. */
let saying = 0;
/** Shows a sentence to everybody, those who listen too. */
export function say(words, bad = false) {
  const place = document.getElementById("said");
  place.textContent = words;
  place.classList.toggle("bad", bad);
  clearTimeout(saying);
  if (words && !bad) saying = setTimeout(() => (place.textContent = ""), SHOWN);
}

/** Runs something that may be refused, and says why where it is. */
export async function trying(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
    return undefined;
  }
}

/** A command line with a button that copies it. */
export function commandLine() {
  const code = h("code", { tabindex: "0" });
  const copy = button("Copy", async () => {
    await navigator.clipboard?.writeText(code.textContent);
    say("The command is copied.");
  });
  const box = h("div", { class: "command" }, h("pre", {}, code), copy);
  return { box, set: (words) => (code.textContent = words) };
}

/** The file of a data address. */
export function blobOf(address) {
  const [head, body] = address.split(",");
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5, head.indexOf(";")) });
}

export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export function percent(share) {
  const value = 100 * share;
  return `${value >= 10 ? value.toFixed(0) : value >= 0.001 ? Number(value.toPrecision(2)) : value > 0 ? "< 0.001" : "0"} %`;
}

/** Arrow keys go through the buttons of a grid; one of them is in the order of Tab. */
export function roving(buttons, columns) {
  const reach = (index) => {
    buttons.forEach((each, i) => (each.tabIndex = i === index ? 0 : -1));
  };
  buttons.forEach((each, index) => {
    each.addEventListener("focus", () => reach(index));
    each.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
      const to = index + (step ?? 0);
      if (!step || !buttons[to]) return;
      event.preventDefault();
      buttons[to].focus();
    });
  });
  if (buttons.length) reach(0);
}

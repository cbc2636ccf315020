// Choosing a picture: a file, a held-out one, or a new one.

import { get, upload } from "./api.js";
import { button, h, picture, roving, trying } from "./dom.js";
import { Working } from "./work.js";

const MANY = 12;

/**
 * Buttons and thumbnails to choose a picture by.
 * `pick` gets {codes, picture, label, text}; of an uploaded file the picture is the file's own.
 */
export function picker(run, model, pick) {
  const shown = h("div", { class: "thumbs", role: "group", "aria-label": "Pictures to choose" });
  let first = 0;

  function list(found, name) {
    const buttons = found.map((each, number) => {
      const words = each.label || each.name || `${name} ${number + 1}`;
      return button("", () => pick(each), { class: "thumb", title: words, "aria-label": `${name}: ${words}` });
    });
    buttons.forEach((each, number) => each.append(picture(found[number].picture, "")));
    shown.replaceChildren(...buttons);
    roving(buttons, 1);
  }

  async function heldOut() {
    const found = await get("codes/held_out", { run, first, count: MANY });
    first = first + MANY < found.total ? first + MANY : 0;
    list(found.pictures, "held out");
    return found.pictures;
  }

  const drawing = new Working(run, "picker", {
    begun() {},
    change() {},
    part({ codes, pictures }) {
      if (codes) list(codes.map((each, i) => ({ codes: each, picture: pictures[i] })), "sample");
    },
  });
  const drawn = () => drawing.begin("sample/draw", { run, count: MANY, seed: Math.floor(Math.random() * 1e6) });

  async function sent(event) {
    const file = event.target.files[0];
    if (!file) return;
    const found = await upload("codes/encode", { run }, file);
    pick({ codes: found.codes, picture: found.original, label: "", text: "" });
  }

  const file = h("input", { type: "file", accept: "image/*", onchange: (event) => trying(() => sent(event)) });
  const box = h("section", { class: "picker", "aria-label": "Choose a picture" },
    h("div", { class: "row" },
      button("Held-out pictures", () => trying(heldOut)),
      model.prior ? button("New samples", () => trying(drawn)) : null,
      h("label", { class: "file" }, file, "Your own picture")),
    shown);
  return { box, heldOut };
}

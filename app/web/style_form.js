// What the cut-outs are laid on and saved as: read from the form, and said as options of the service.

import { decode } from "./pixels.js";
import { ALL } from "./subjects.js";

const LONGEST_PICTURE = 3000;

/** The form's state as `style` (see pixels.js) and `format`: "png", "webp", "jpg" or "matte". `changed()` after each change. */
export class StyleForm {
  #colour = "#ffffff";
  #picture = null;
  #file = null;

  constructor(form, { changed, failed }) {
    this.form = form;
    this.changed = changed;
    this.failed = failed;
    this.own = form.querySelector("#own-colour");
    this.swatches = [...form.elements.colour];
    for (const swatch of this.swatches) swatch.parentElement.style.backgroundColor = swatch.value;
    form.addEventListener("input", (event) => this.#take(event.target));
    form.querySelector("#backdrop").addEventListener("change", (event) => this.#load(event.target));
    this.#show();
  }

  get style() {
    const { background, blur, shadow } = this.form.elements;
    const waiting = background.value === "picture" && !this.#picture;
    return {
      background: waiting ? "none" : background.value,
      colour: this.#colour,
      picture: this.#picture,
      file: this.#file,
      blur: Number(blur.value),
      shadow: Number(shadow.value),
    };
  }

  get format() {
    return this.form.elements.format.value;
  }

  #take(input) {
    if (input.name === "colour") this.#colour = input.value;
    if (input === this.own) this.#colour = input.value;
    if (input.id === "backdrop") return;
    this.#show();
    this.changed();
  }

  #show() {
    const { background, format } = this.form.elements;
    for (const part of this.form.querySelectorAll("[data-for]")) part.hidden = part.dataset.for !== background.value;
    for (const swatch of this.swatches) {
      swatch.checked = swatch.value === this.#colour;
      swatch.parentElement.classList.toggle("chosen", swatch.checked);
    }
    this.own.parentElement.classList.toggle("chosen", !this.swatches.some((swatch) => swatch.checked));
    for (const output of this.form.querySelectorAll("output")) {
      output.value = output.parentElement.querySelector("input").value;
    }
    this.form.querySelector("#format-hint").textContent = hint(format.value, this.style.background);
  }

  async #load(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      this.#picture = await decode(file, LONGEST_PICTURE);
    } catch {
      this.failed(`${file.name} is no picture that this browser can read.`);
      return;
    }
    this.#file = file;
    this.form.querySelector("#backdrop-name").textContent = file.name;
    this.#show();
    this.changed();
  }
}

function hint(format, background) {
  if (format === "matte") return "The alpha alone, as a grey PNG: white is kept. Background and shadow have no part in it.";
  if (format === "jpg" && background === "none") return "JPG knows no transparency: the cut-out is laid on white.";
  if (format === "jpg") return "Smallest to share, no transparency.";
  return format === "png" ? "Without loss, opens everywhere." : "Much smaller than PNG, with transparency.";
}

/** The options of POST /v1/cutout that give the same picture. */
export function options(style, format) {
  const chosen = { format };
  if (style.background === "colour") chosen.background = style.colour.slice(1);
  if (style.background === "picture") chosen.background = style.file;
  if (style.background === "blur") chosen.blur = String(style.blur);
  if (style.shadow) chosen.shadow = String(style.shadow);
  return chosen;
}

/** The same as a command for a terminal; `model` as in models.js, `subject` as in subjects.js, `locked` where the service wants a key. */
export function command(style, format, { model, subject, locked }) {
  const matte = format === "matte";
  const how = { ...(subject !== ALL && { subject }), ...(model && { model }) };
  const fields = Object.entries({ ...(!matte && options(style, format)), ...how })
    .filter(([name, value]) => name !== "format" || value !== "png")
    .map(([name, value]) => `-F ${name}=${value instanceof File ? "@background.jpg" : value} `);
  const key = locked ? "-H 'X-Api-Key: YOUR_KEY' " : "";
  const address = new URL(matte ? "v1/matte" : "v1/cutout", document.baseURI);
  return `curl -f ${key}-F image=@photo.jpg ${fields.join("")}${address} -o ${matte ? "matte.png" : `cutout.${format}`}`;
}

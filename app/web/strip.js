// The list of photos: one radio button each, so that the arrow keys walk through it, with a picture and a badge.

import { Stage } from "./stage.js";

const THUMBNAIL = 152; // Twice the 76 pixels of the style sheet, for screens of double density.
const BADGES = { waiting: "wait", busy: "busy", failed: "failed", doubtful: "warn", done: "done" };

export class Strip {
  #entries = new Map();
  #drawing = Promise.resolve();

  /** `chosen(photo)` when one is picked, `removed(photo)` when Delete is pressed on one. */
  constructor(list, template, { chosen, removed }) {
    this.list = list;
    this.template = template;
    this.chosen = chosen;
    this.removed = removed;
  }

  add(photo) {
    const item = this.template.content.firstElementChild.cloneNode(true);
    const [radio, picture] = [item.querySelector("input"), item.querySelector("canvas")];
    radio.value = photo.id;
    radio.addEventListener("change", () => this.chosen(photo));
    radio.addEventListener("keydown", (event) => {
      if (event.key === "Delete" || event.key === "Backspace") this.removed(photo);
    });
    item.querySelector(".name").textContent = photo.name;
    item.firstElementChild.title = photo.name;
    [picture.width, picture.height] = [THUMBNAIL, THUMBNAIL];
    this.list.append(item);
    this.#entries.set(photo, { item, radio, picture, drawn: undefined });
  }

  remove(photo) {
    this.#entries.get(photo).item.remove();
    this.#entries.delete(photo);
  }

  select(photo, { focus = false } = {}) {
    const { item, radio } = this.#entries.get(photo);
    radio.checked = true;
    item.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (focus) radio.focus();
  }

  /** Show what has become of `photo`. */
  update(photo) {
    const entry = this.#entries.get(photo);
    const state = stateOf(photo);
    const label = entry.item.firstElementChild;
    if (label.dataset.state !== state) {
      label.dataset.state = state;
      label.querySelector("use").setAttribute("href", `#icon-${BADGES[state]}`);
    }
    const condition = label.querySelector(".condition");
    if (condition.textContent !== photo.condition) condition.textContent = photo.condition;
    if (entry.drawn !== photo.cutout) {
      entry.drawn = photo.cutout;
      // One after the other: fifty photos decoded at once would fill the memory.
      this.#drawing = this.#drawing.then(() => this.#entries.has(photo) && Stage.thumbnail(photo, entry.picture));
    }
  }
}

function stateOf(photo) {
  if (photo.doubtful) return "doubtful";
  if (photo.state === "waiting" || photo.state === "pausing") return "waiting";
  return photo.pending ? "busy" : photo.state;
}

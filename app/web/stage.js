// The photo that is looked at: original and result over each other, a slider between them, and what is to be said.

import { canvas, compose, decode, paper } from "./pixels.js";
import { SURE } from "./photo.js";

const PREVIEW = 1600; // Longest side of what is drawn on the screen, in pixels.
const TITLES = { waiting: "Waiting for its turn", uploading: "Uploading", working: "Cutting out", pausing: "Trying again soon" };

export class Stage {
  #photo = null;
  #shown = null;
  #original = null;
  #cutout = null;
  #turn = 0;

  constructor(part) {
    this.part = part;
    part.split.addEventListener("input", () => this.#slide());
    this.#slide();
  }

  /** Show `photo` with `style`. Decodes only what has changed; what was asked for last is what stays. */
  async show(photo, style) {
    this.part.shown.textContent = photo.name;
    this.#tell(photo);
    this.#notice(photo);
    if (photo === this.#photo && photo.cutout === this.#shown) return;
    this.#turn += 1;
    const turn = this.#turn;
    const original = photo === this.#photo ? this.#original : null;
    this.#photo = photo;
    this.#shown = photo.cutout;
    const [first, second] = await Promise.all([
      original ?? readable(photo.file),
      photo.cutout ? readable(photo.cutout) : null,
    ]);
    if (turn !== this.#turn) return;
    [this.#original, this.#cutout] = [first, second];
    this.paint(style);
  }

  /** Hold no picture any more. */
  clear() {
    this.#turn += 1;
    this.#photo = this.#shown = this.#original = this.#cutout = null;
    for (const shown of [this.part.before, this.part.after]) [shown.width, shown.height] = [1, 1];
  }

  paint(style) {
    const { frame, before, after } = this.part;
    const size = this.#cutout ?? this.#original;
    frame.hidden = !size;
    frame.classList.toggle("single", !this.#cutout || !this.#original);
    before.hidden = !this.#original;
    if (!size) return;
    this.part.stage.style.setProperty("--ratio", size.width / size.height);
    for (const shown of [before, after]) [shown.width, shown.height] = [size.width, size.height];
    if (this.#original) paper(before).drawImage(this.#original, 0, 0, size.width, size.height);
    if (this.#cutout) compose(after, this.#cutout, this.#original, style);
  }

  /** A small square picture of the photo or of its cut-out, drawn on `target`. */
  static async thumbnail(photo, target) {
    const picture = await readable(photo.cutout ?? photo.file, target.width * 2);
    if (!picture) return;
    const square = canvas(target.width, target.height);
    const side = Math.min(picture.width, picture.height);
    // A portrait's head is in the upper half: what is too high is cut below.
    const top = Math.min((picture.height - side) / 4, picture.height - side);
    paper(square).drawImage(picture, (picture.width - side) / 2, top, side, side, 0, 0, square.width, square.height);
    const context = paper(target);
    context.clearRect(0, 0, target.width, target.height);
    context.drawImage(square, 0, 0);
  }

  #slide() {
    const { split, frame } = this.part;
    frame.style.setProperty("--split", `${split.value}%`);
    // A label stands only where some of what it names is to be seen.
    frame.classList.toggle("mostly-after", split.value < 25);
    frame.classList.toggle("mostly-before", split.value > 75);
    split.setAttribute("aria-valuetext", `${split.value} % original, ${100 - split.value} % cut-out`);
  }

  #tell(photo) {
    const { state, title, detail, progress, again } = this.part;
    const failed = photo.state === "failed";
    state.hidden = photo.state === "done";
    state.classList.toggle("failed", failed);
    title.textContent = failed ? photo.problem.title : TITLES[photo.state];
    detail.textContent = photo.problem?.detail ?? "";
    detail.hidden = !photo.problem;
    progress.hidden = failed || photo.state === "waiting";
    // Without a value a progress bar says: it goes on, nobody knows how long.
    if (photo.state === "uploading") progress.value = photo.progress;
    else progress.removeAttribute("value");
    again.hidden = !failed || photo.problem.final;
  }

  #notice(photo) {
    const { notice, noticeTitle, noticeDetail, finer } = this.part;
    notice.hidden = !photo.doubtful;
    if (!photo.doubtful) return;
    const { found, confidence } = photo.result;
    noticeTitle.textContent = found ? "Look closely at this one." : "Nobody was found in this photo.";
    noticeDetail.textContent = found
      ? `The service trusts it less than usual: ${confidence.toFixed(2)}, where ${SURE} and more is good.`
      : "The service cuts out people; this photo came back all but empty.";
    finer.hidden = photo.quality === "high";
  }
}

async function readable(file, longest = PREVIEW) {
  try {
    return await decode(file, longest);
  } catch {
    return null; // The service may read what this browser cannot.
  }
}

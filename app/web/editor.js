// The editor of one photo's cut-out: strokes, undo and redo, zoom and pan, by mouse, fingers and keyboard. What was
// painted stays with its photo in `photo.edits`; `photo.edited` is the cut-out that comes of it.

import { Alpha, TileStep } from "./alpha.js";
import { Stroke } from "./brush.js";
import { EditKeys } from "./edit_keys.js";
import { EditTools } from "./edit_tools.js";
import { EditView } from "./edit_view.js";
import { Gestures } from "./gestures.js";
import { History, HistoryBudget } from "./history.js";
import { Retouched } from "./retouch.js";
import { Viewport } from "./viewport.js";

const STEP = 1.3; // Between two zooms by key or button.
const RESTORE = { to: 255, name: "restoring" };
const ERASE = { to: 0, name: "erasing" };
const MARGIN = 40; // CSS pixels that the keyboard's brush stays away from the edges.

export class Editor {
  #budget = new HistoryBudget();
  #photo = null;
  #retouched = null;
  #stroke = null;
  #cursor = null;
  #turn = 0;
  #saving = Promise.resolve();

  /**
   * `box` holds the tools, `#surface` and `#sheet`. `changed()` after each change of an edited cut-out, `leave()` where
   * the person wants to, `reread(photo)` gives a photo that this browser cannot read as a bitmap that it can.
   */
  constructor(box, { changed, leave, reread }) {
    this.box = box;
    this.changed = changed;
    this.leave = leave;
    this.reread = reread;
    this.surface = box.querySelector("#surface");
    this.tools = new EditTools(box, this);
    this.view = new EditView({ surface: this.surface, sheet: box.querySelector("#sheet"), scene: () => this.#scene() });
    this.gestures = new Gestures(this.surface, this);
    this.keys = new EditKeys(box, this.surface, this);
    new ResizeObserver(() => this.#measure()).observe(this.surface);
  }

  /** The photo that is edited, or null. */
  get photo() {
    return this.#photo;
  }

  /** Edit a done photo. Throws where this browser cannot: DOMException, RangeError or the Problem of `reread`. */
  async open(photo, style) {
    if (photo === this.#photo) return;
    this.close();
    this.#turn += 1;
    const turn = this.#turn;
    this.#photo = photo;
    this.tools.wait();
    this.box.ariaBusy = "true";
    const cutout = await createImageBitmap(photo.result.blob);
    const original = await createImageBitmap(photo.file).catch(() => this.reread(photo)).catch(() => null);
    if (turn !== this.#turn) {
      cutout.close();
      original?.close();
      return;
    }
    photo.edits ??= this.#begin(cutout);
    this.#retouched = new Retouched(cutout, original, photo.edits.alpha);
    if (!original) this.tools.restoring = false;
    this.#measure();
    this.view.lay(this.#retouched, style);
    this.box.ariaBusy = "false";
    this.#tell("");
  }

  /** Let go of the photo; its edits stay with it, and become its cut-out. */
  close() {
    if (!this.#photo) return;
    this.gestures.stop();
    this.lift();
    this.#turn += 1;
    const retouched = this.#retouched;
    this.#keep().then(() => retouched?.close(), () => retouched?.close());
    this.#photo = this.#retouched = this.#cursor = null;
    this.view.clear();
  }

  /** Wait until `photo.edited` of all photos is what was painted. */
  async settle() {
    if (this.#photo) this.#keep();
    await this.#saving;
  }

  /** Forget what was painted on `photo`. */
  forget(photo) {
    if (photo.edits) this.#budget.remove(photo.edits.history);
    if (photo === this.#photo) {
      this.gestures.stop();
      this.cancel();
      photo.edits = null;
      this.close();
    }
    photo.edits = photo.edited = null;
  }

  restyle(style) {
    if (this.#retouched) this.view.lay(this.#retouched, style);
  }

  redraw() {
    this.view.draw();
  }

  // Strokes. Points are CSS pixels from the surface's upper left.

  begin(point) {
    if (!this.#retouched) return;
    this.lift();
    const kind = this.tools.restoring ? RESTORE : ERASE;
    const base = (key) => this.#retouched.base(key);
    this.#stroke = new Stroke(this.#photo.edits.alpha, base, { ...kind, radius: this.#radius });
    this.extend([point]);
  }

  extend(points) {
    for (const point of this.#stroke ? points : []) {
      const area = this.#stroke.extend(this.#photo.edits.viewport.toPicture(point));
      if (area) this.#retouched.redraw(this.#stroke.alpha.keysIn(area), area);
    }
    this.view.draw();
  }

  end() {
    const step = this.#stroke?.end();
    this.#stroke = null;
    if (step) this.#done(step);
  }

  cancel() {
    const step = this.#stroke?.end();
    this.#stroke = null;
    if (!step) return;
    step.swap();
    this.#retouched.redraw(step.keys);
    this.view.draw();
  }

  undo() {
    this.#travel("undo", "Undone", "Nothing to undo.");
  }

  redo() {
    this.#travel("redo", "Done again", "Nothing to do again.");
  }

  /** Back to what the service made; a step like others, which can be undone. */
  reset() {
    this.lift();
    const alpha = this.#photo?.edits?.alpha;
    if (!alpha?.changed) return;
    const step = new TileStep(alpha, new Map(alpha.keys.map((key) => [key, undefined])), "starting over");
    step.swap();
    this.#retouched.redraw(step.keys);
    this.#done(step);
    this.#tell("The cut-out is as the service made it.");
  }

  // Zoom, pan and brush.

  zoom(factor, point) {
    this.#look((viewport) => viewport.zoom(factor, point));
  }

  zoomIn() {
    this.#zoomed((viewport) => viewport.zoom(STEP));
  }

  zoomOut() {
    this.#zoomed((viewport) => viewport.zoom(1 / STEP));
  }

  fit() {
    this.#zoomed((viewport) => viewport.fit());
  }

  pan(x, y) {
    this.#look((viewport) => viewport.pan(x, y));
  }

  hover(point) {
    const viewport = this.#photo?.edits?.viewport;
    this.#cursor = point && viewport ? viewport.toPicture(point) : null;
    this.view.draw();
  }

  /** Make the brush so many steps larger, or smaller. */
  resize(steps) {
    this.tools.resize(steps);
    this.#tell(`Brush ${this.tools.size} wide.`);
  }

  choose(restoring) {
    this.tools.restoring = restoring && Boolean(this.#retouched?.original);
    this.#tell(this.tools.restoring ? "Restore." : "Erase.");
    this.view.draw();
  }

  // The brush of the keyboard.

  get down() {
    return this.#stroke !== null;
  }

  /** Move the brush by so many of its diameters, and the picture along where it comes near an edge. */
  move(x, y) {
    if (!this.#retouched) return;
    const { alpha, viewport } = this.#photo.edits;
    const from = this.#cursor ?? viewport.toPicture(viewport.middle);
    const within = (at, size) => Math.min(Math.max(at, 0), size);
    this.#cursor = {
      x: within(from.x + x * this.#radius * 2, alpha.width),
      y: within(from.y + y * this.#radius * 2, alpha.height),
    };
    viewport.follow(this.#cursor, MARGIN);
    this.extend([viewport.toScreen(this.#cursor)]);
    this.#tell(this.#whereabouts());
  }

  /** Put the keyboard's brush on the picture, or lift it. */
  press() {
    if (!this.#retouched) return;
    if (this.down) {
      this.lift();
      this.#tell("Brush lifted.");
      return;
    }
    this.move(0, 0);
    this.begin(this.#photo.edits.viewport.toScreen(this.#cursor));
    this.#tell(`Brush down, ${this.tools.restoring ? "restoring" : "erasing"}.`);
  }

  lift() {
    if (this.down) this.end();
  }

  get #radius() {
    return this.tools.size / 2 / this.#photo.edits.viewport.scale;
  }

  #begin({ width, height }) {
    const viewport = new Viewport({ width, height });
    return { alpha: new Alpha(width, height), history: new History(this.#budget), viewport, version: 0, saved: 0 };
  }

  #done(step) {
    const { edits } = this.#photo;
    edits.history.push(step);
    this.#changed();
  }

  #travel(way, said, nothing) {
    this.lift();
    const step = this.#photo?.edits?.history[way]();
    if (step) {
      this.#retouched.redraw(step.keys);
      this.#changed();
    }
    this.#tell(step ? `${said}: ${step.name}.` : nothing);
  }

  #changed() {
    const { edits } = this.#photo;
    edits.version += 1;
    this.view.draw();
    this.tools.show(this.#photo.edits);
    this.changed(this.#photo);
  }

  /** Make the PNG of what was painted, after those that are being made already. */
  #keep() {
    const [photo, retouched, edits] = [this.#photo, this.#retouched, this.#photo.edits];
    const { version } = edits ?? {};
    if (!retouched || !edits || edits.saved === version) return this.#saving;
    // The picture is taken now: it may be painted on while the earlier ones are being made.
    const made = edits.alpha.changed ? retouched.toBlob() : Promise.resolve(null);
    const all = Promise.all([made, this.#saving.catch(() => {})]);
    this.#saving = all.then(([blob]) => {
      if (photo.edits !== edits) return;
      edits.saved = version;
      photo.edited = blob;
      this.changed(photo);
    });
    return this.#saving;
  }

  #measure() {
    const { clientWidth: width, clientHeight: height } = this.surface;
    if (!this.#retouched || !width || !height) return;
    this.#look((viewport) => viewport.resize({ width, height }));
  }

  #look(change) {
    if (!this.#retouched) return;
    change(this.#photo.edits.viewport);
    this.tools.show(this.#photo.edits);
    this.view.draw();
  }

  #zoomed(change) {
    this.#look(change);
    if (this.#retouched) this.#tell(`Zoom ${Math.round(this.#photo.edits.viewport.scale * 100)} %.`);
  }

  #whereabouts() {
    const { alpha } = this.#photo.edits;
    const share = (at, size) => Math.round(at / size * 100);
    const kept = this.#retouched.alphaAt(this.#cursor) >= 128 ? "kept" : "removed";
    return `${share(this.#cursor.x, alpha.width)} % across, ${share(this.#cursor.y, alpha.height)} % down: ${kept}.`;
  }

  #tell(text) {
    if (this.#photo?.edits) this.tools.show(this.#photo.edits, Boolean(this.#retouched?.original));
    this.tools.tell(text);
  }

  #scene() {
    if (!this.#retouched) return null;
    return {
      retouched: this.#retouched,
      viewport: this.#photo.edits.viewport,
      cursor: this.#cursor,
      radius: this.#radius,
      restoring: this.tools.restoring,
      everywhere: this.tools.everywhere,
    };
  }
}

// The editor's bar of tools: what its controls show and what they ask of the editor. Knows no picture.

const STEP = 1.15; // Between two sizes of the brush.

export class EditTools {
  /** `box` holds the controls by their ids; what they do is asked of `editor`. */
  constructor(box, editor) {
    const part = (id) => box.querySelector(`#${id}`);
    this.part = part;
    this.box = box;
    for (const [id, act] of [["undo", "undo"], ["redo", "redo"], ["zoom-in", "zoomIn"], ["zoom-out", "zoomOut"],
      ["fit", "fit"], ["start-over", "reset"]]) {
      part(id).addEventListener("click", () => editor[act]());
    }
    part("brush-size").addEventListener("input", () => {
      this.#label();
      editor.redraw();
    });
    part("see-original").addEventListener("change", () => editor.redraw());
    for (const radio of box.querySelectorAll("[name=brush]")) {
      radio.addEventListener("change", () => editor.choose(this.restoring));
    }
    this.#label();
  }

  /** Diameter of the brush in CSS pixels. */
  get size() {
    return Number(this.part("brush-size").value);
  }

  get restoring() {
    return this.part("restore").checked;
  }

  set restoring(restoring) {
    this.part("restore").checked = restoring;
    this.part("erase").checked = !restoring;
  }

  /** Whether the photo is to be seen dimly in all places, not only around the brush. */
  get everywhere() {
    return this.part("see-original").checked;
  }

  resize(steps) {
    const slider = this.part("brush-size");
    const aim = this.size * STEP ** steps;
    slider.value = steps > 0 ? Math.ceil(aim) : Math.floor(aim);
    this.#label();
  }

  /** Nothing can be done until the pictures have come. */
  wait() {
    for (const id of ["undo", "redo", "start-over"]) this.#enable(id, false);
    this.part("zoom").value = "";
  }

  show({ history, viewport, alpha }, restorable = !this.part("restore").disabled) {
    this.#enable("undo", history.undoable > 0);
    this.#enable("redo", history.redoable > 0);
    this.#enable("start-over", alpha.changed);
    this.part("restore").disabled = !restorable;
    this.part("zoom").value = `${Math.round(viewport.scale * 100)} %`;
  }

  tell(text) {
    this.part("edit-news").textContent = text;
  }

  /** Not `disabled`: a button that is pressed for the last time would lose the focus. */
  #enable(id, enabled) {
    this.part(id).setAttribute("aria-disabled", String(!enabled));
  }

  #label() {
    this.part("brush-size").nextElementSibling.value = this.size;
    this.part("brush-size").setAttribute("aria-valuetext", `${this.size} pixels of the screen`);
  }
}

// The editor by keyboard: undo and redo from anywhere on the page, the rest where the picture has the focus.

const NUDGE = 0.25; // Of the brush's diameter.
const PAN = 60; // CSS pixels.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYS = {
  "[": (editor) => editor.resize(-1),
  "]": (editor) => editor.resize(1),
  "+": (editor) => editor.zoomIn(),
  "=": (editor) => editor.zoomIn(),
  "-": (editor) => editor.zoomOut(),
  0: (editor) => editor.fit(),
  r: (editor) => editor.choose(true),
  e: (editor) => editor.choose(false),
  Enter: (editor) => editor.press(),
};

export class EditKeys {
  constructor(box, surface, editor) {
    this.editor = editor;
    document.addEventListener("keydown", (event) => this.#anywhere(event));
    box.addEventListener("keydown", (event) => this.#inside(event));
    surface.addEventListener("keydown", (event) => this.#onPicture(event));
    surface.addEventListener("blur", () => editor.lift());
  }

  #anywhere(event) {
    const key = event.key.toLowerCase();
    const command = (event.ctrlKey || event.metaKey) && !event.altKey;
    // In a dialog it belongs to the text that is typed there.
    if (!command || (key !== "z" && key !== "y") || !this.editor.photo || event.target.closest("dialog")) return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) this.editor.redo();
    else this.editor.undo();
  }

  #inside(event) {
    if (event.key !== "Escape") return;
    event.preventDefault();
    if (this.editor.down) this.editor.cancel();
    else this.editor.leave();
  }

  #onPicture(event) {
    if (event.ctrlKey || event.metaKey) return;
    const arrow = ARROWS[event.key];
    // Where brackets need a third key, those that lie in their place do.
    const act = KEYS[event.key.toLowerCase()] ?? KEYS[event.key]
      ?? { BracketLeft: KEYS["["], BracketRight: KEYS["]"] }[event.code];
    if (!arrow && (!act || event.altKey)) return;
    event.preventDefault();
    if (!arrow) {
      if (!(event.repeat && event.key === "Enter")) act(this.editor);
    } else if (event.shiftKey) {
      this.editor.pan(-arrow[0] * PAN, -arrow[1] * PAN);
    } else {
      this.editor.move(arrow[0] * NUDGE, arrow[1] * NUDGE);
    }
  }
}

// Who stays in the cut-out: everybody, or the main person alone. A choice that is shown where there is one to make.
// A subject is told as the service takes it: "all" or "main".

export const ALL = "all";

export class SubjectChooser {
  /** `box` holds the radio buttons `subject`, and `hint`. `chosen(subject)` after each choice of the person. */
  constructor({ box, hint }, { chosen }) {
    this.box = box;
    this.hint = hint;
    this.buttons = [...box.querySelectorAll("input")];
    /** Who stays in photos that are yet to be added. */
    this.choice = ALL;
    box.addEventListener("change", ({ target }) => {
      this.choice = target.value;
      chosen(target.value);
    });
  }

  /** Show what is chosen for `photo`, and that there are several people in it; null: for the next photo. */
  show(photo) {
    const subject = photo?.subject ?? this.choice;
    const several = photo?.subjects > 1;
    this.box.hidden = !several && subject === ALL;
    for (const button of this.buttons) button.checked = button.value === subject;
    const found = several ? `${photo.subjects} people or groups were found. ` : "";
    const text = `${found}For this photo and those added next.`;
    if (this.hint.textContent !== text) this.hint.textContent = text;
  }
}

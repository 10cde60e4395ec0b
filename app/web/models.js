// Which of the models in service cuts a photo out: a list to choose from, shown only where there is more than one.
// A model is told as the service takes it: "" for its default one, else "name@version".

import { modelsInService } from "./service.js";

const DEFAULT = "";

export class ModelChooser {
  #offered = [{ model: DEFAULT, label: "" }];
  #turn = 0;

  /** `box` holds `list`, a select element. `chosen(model)` after each choice of the person. */
  constructor({ box, list }, { chosen }) {
    this.box = box;
    this.list = list;
    /** The model for photos that are yet to be added. */
    this.choice = DEFAULT;
    list.addEventListener("change", () => {
      this.choice = list.value;
      chosen(list.value);
    });
  }

  /** Ask the service anew. Where it does not tell, what was known stays. */
  async refresh(key) {
    this.#turn += 1;
    const turn = this.#turn;
    const offered = await modelsInService(key);
    if (!offered?.length || turn !== this.#turn) return;
    this.#offered = offered;
    this.choice = this.available(this.choice);
  }

  /** `model`, or the default one where it is no longer in service. */
  available(model) {
    return this.#offered.some((each) => each.model === model) ? model : DEFAULT;
  }

  /** Show `model` as the one that is chosen. */
  show(model) {
    this.box.hidden = this.#offered.length < 2;
    const entries = [...this.#offered];
    // Made by a model that has left since: its name stays with its picture.
    if (this.available(model) !== model) entries.push({ model, label: `${model} (no longer in service)` });
    const shown = [...this.list.options];
    // Only where it differs: an open list would close.
    if (entries.length !== shown.length || entries.some(({ label }, index) => label !== shown[index].text)) {
      this.list.replaceChildren(...entries.map((each) => new Option(each.label, each.model)));
    }
    if (this.list.value !== model) this.list.value = model;
  }
}

// The API key: asked for when the service answers 401, kept for this tab, told to nobody else.

const STORED_AS = "u2matte-api-key";

export class Keys {
  #asking = null;
  #declined = false;
  #accepted;

  /** `dialog` holds #key-form, #key-detail, #key-value and #key-cancel. `accepted()` once a new key has opened. */
  constructor(dialog, { accepted }) {
    this.dialog = dialog;
    this.accepted = accepted;
    this.detail = dialog.querySelector("#key-detail");
    this.field = dialog.querySelector("#key-value");
    this.value = this.#accepted = stored();
    dialog.querySelector("#key-cancel").addEventListener("click", () => dialog.close(""));
    dialog.querySelector("#key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close(this.field.value);
    });
  }

  /** Ask again, even if the last time nothing was given. */
  forgive() {
    this.#declined = false;
  }

  /** `attempt(key)`; after a 401 the key is asked for, and it is tried again. Throws the 401 if none is given. */
  async withKey(attempt) {
    for (;;) {
      const used = this.value;
      try {
        const result = await attempt(used);
        this.#accept(used);
        return result;
      } catch (problem) {
        if (problem.status !== 401) throw problem;
        // Another photo may have asked meanwhile: then the new key is tried first.
        if (used === this.value) await this.#ask(problem, used);
      }
    }
  }

  #accept(key) {
    if (key === this.#accepted) return;
    this.#accepted = key;
    this.accepted();
  }

  async #ask(problem, used) {
    if (this.#declined) throw problem;
    this.#asking ??= this.#answer(used).finally(() => {
      this.#asking = null;
    });
    const given = await this.#asking;
    if (!given) {
      this.#declined = true;
      throw problem;
    }
    this.value = given;
    store(given);
  }

  #answer(used) {
    this.detail.textContent = used
      ? "The service did not accept that key. Please check it."
      : "Whoever runs this service can give you one.";
    this.field.value = "";
    this.dialog.returnValue = "";
    this.dialog.showModal();
    return new Promise((resolve) => {
      this.dialog.addEventListener("close", () => resolve(this.dialog.returnValue), { once: true });
    });
  }
}

function stored() {
  try {
    return sessionStorage.getItem(STORED_AS) ?? "";
  } catch {
    return ""; // Storage is switched off: the key is kept in memory.
  }
}

function store(key) {
  try {
    sessionStorage.setItem(STORED_AS, key);
  } catch {
    // As above.
  }
}

// A still picture from the camera, as a file. The camera is on only while its dialog is open.

const REASONS = {
  NotAllowedError: "The camera may not be used. Allow it in the browser's settings for this page.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera is in use by another program.",
};
const BEST = { width: { ideal: 4096 }, height: { ideal: 4096 } };

/** Whether there is a camera that this page may ask for: browsers offer it over HTTPS and on localhost only. */
export async function hasCamera() {
  return (await cameras()).length > 0;
}

async function cameras() {
  const devices = await navigator.mediaDevices?.enumerateDevices() ?? [];
  return devices.filter((device) => device.kind === "videoinput");
}

export class Camera {
  #stream = null;
  #facing = "user";

  /** `taken(file)` gets each picture, a JPEG. */
  constructor(dialog, taken) {
    this.dialog = dialog;
    this.taken = taken;
    [this.view, this.problem, this.take, this.turn, this.leave] = ["view", "problem", "take", "turn", "close"].map(
      (name) => dialog.querySelector(`#camera-${name}`),
    );
    this.take.addEventListener("click", () => this.#shoot());
    this.turn.addEventListener("click", () => this.#turn());
    this.leave.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => this.#stop());
  }

  async open() {
    this.dialog.showModal();
    await this.#start();
    this.turn.hidden = (await cameras()).length < 2;
  }

  async #start() {
    this.problem.hidden = true;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: this.#facing, ...BEST } });
      this.#stream = stream;
      if (!this.dialog.open) this.#stop(); // It was closed while the browser asked for leave.
      this.view.srcObject = this.#stream;
      this.take.disabled = !this.#stream;
    } catch (error) {
      this.problem.textContent = REASONS[error.name] ?? "The camera could not be started.";
      this.problem.hidden = false;
    }
  }

  #stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.view.srcObject = null;
    this.take.disabled = true;
  }

  async #turn() {
    this.#stop();
    this.#facing = this.#facing === "user" ? "environment" : "user";
    await this.#start();
  }

  async #shoot() {
    const still = document.createElement("canvas");
    [still.width, still.height] = [this.view.videoWidth, this.view.videoHeight];
    if (!still.width) return; // Its first picture has not come yet.
    still.getContext("2d").drawImage(this.view, 0, 0);
    const blob = await new Promise((resolve) => { still.toBlob(resolve, "image/jpeg", 0.95); });
    const name = `camera-${new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-")}.jpg`;
    this.dialog.close();
    this.taken(new File([blob], name, { type: "image/jpeg" }));
  }
}

// One photo and what has become of it. Knows the service and the queue, no element of the page.

import { refusal } from "./dropped_files.js";
import { post, Problem } from "./service.js";
import { untilDone } from "./queue.js";
import { ALL } from "./subjects.js";

/** Below this the service's own documentation says to look closely. */
export const SURE = 0.95;

/**
 * `state` is waiting, uploading, working, pausing, done or failed. While uploading `progress` is 0 to 1; once failed
 * `problem` has a title and a detail; once done `result` is `{ blob, found, confidence, subjects }`, the blob an RGBA PNG.
 * `edits` is what a brush has changed since (see editor.js), `edited` the cut-out that came of it.
 */
export class Photo {
  static #count = 0;

  /** `model` is "" for the service's default one, else `name@version`; `subject` is "all" or "main". */
  constructor(file, { model, subject }) {
    Photo.#count += 1;
    this.id = `photo-${Photo.#count}`;
    this.file = file;
    this.name = file.name || "photo";
    /** How many people or groups the service has found in it; 0 as long as it has not been asked. */
    this.subjects = 0;
    this.reset({ quality: "standard", model, subject });
  }

  /** Be as before the first attempt, but for what is given. What is under way for it is given up. */
  reset({ quality = this.quality, model = this.model, subject = this.subject } = {}) {
    if (this.pending) this.leaving?.abort(new DOMException("Started anew", "AbortError"));
    this.quality = quality;
    this.model = model;
    this.subject = subject;
    this.state = "waiting";
    this.progress = 0;
    this.problem = null;
    this.result = null;
    this.edits = null;
    this.edited = null;
    this.leaving = new AbortController();
  }

  /** How its matte is to be made, as options of the service. */
  get how() {
    return {
      quality: this.quality,
      ...(this.subject !== ALL && { subject: this.subject }),
      ...(this.model && { model: this.model }),
    };
  }

  get pending() {
    return this.state !== "done" && this.state !== "failed";
  }

  /** The cut-out as it is to be shown and saved, a blob; null while there is none. */
  get cutout() {
    return this.edited ?? this.result?.blob ?? null;
  }

  get retouched() {
    return Boolean(this.edits?.alpha.changed);
  }

  /** Whether leaving the page would lose strokes that no file has. */
  get unsaved() {
    return this.retouched && this.edits.version !== this.edits.downloaded;
  }

  get doubtful() {
    return this.state === "done" && !this.retouched && (!this.result.found || this.result.confidence < SURE);
  }

  /** What is to be said of it, in a few words. */
  get condition() {
    if (this.state === "uploading") return "uploading";
    if (this.state === "working") return "cutting out";
    if (this.state === "failed") return `failed: ${this.problem.title}`;
    if (this.retouched) return "done, edited";
    if (!this.doubtful) return this.state === "done" ? "done" : "waiting";
    return this.result.found ? "done, look closely" : "done, nobody found";
  }
}

/** Have `photo` cut out. `changed()` is called after each change of its state; `keys` gives the key and asks for one. */
export async function cutOut(photo, { limits, keys, changed }) {
  const { signal } = photo.leaving;
  const become = (state, facts = {}) => {
    if (signal.aborted) return; // Removed, or started anew: its state is no longer this attempt's.
    Object.assign(photo, { state, ...facts });
    changed();
  };
  const attempt = () => keys.withKey((key) => post(photo.file, photo.how, {
    key,
    signal,
    onProgress: (progress) => become(progress < 1 ? "uploading" : "working", { progress }),
  }));
  try {
    become("uploading", { progress: 0 });
    const refused = await refusal(photo.file, limits);
    if (refused) throw refused;
    const result = await untilDone(attempt, { signal, onPause: (_, problem) => become("pausing", { problem }) });
    become("done", { result, subjects: result.subjects, problem: null });
  } catch (problem) {
    const expected = problem instanceof Problem;
    become("failed", { problem: expected ? problem : new Problem("Something went wrong in this page", `${problem}`) });
  }
}

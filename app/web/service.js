// One photo goes to the service, one picture comes back, or a Problem that says why not. And which models there are.
// Knows HTTP. Knows no page and no queue.

const TIMEOUT_MS = 300_000;
const MODELS_TIMEOUT_MS = 10_000;
const MEGABYTE = 1e6;
const FINAL = new Set([400, 413, 415, 422]);

/** Why a photo has no result. `title` and `detail` are sentences for a person; `status` is 0 where no answer came. */
export class Problem extends Error {
  constructor(title, detail, { status = 0, retryAfter = null } = {}) {
    super(title);
    this.title = title;
    this.detail = detail;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same photo would be refused again. */
  get final() {
    return FINAL.has(this.status);
  }
}

/** Bytes as a person reads them. */
export function readable(bytes) {
  return bytes < MEGABYTE ? `${Math.ceil(bytes / 1000)} kB` : `${Math.round(bytes / MEGABYTE * 10) / 10} MB`;
}

/**
 * Post `file` to `route` with `options` (text or file per name). `onProgress` hears the share that is uploaded,
 * 0 to 1. Returns `{ blob, found, confidence, subjects }`. Throws Problem, or the signal's reason once it is aborted.
 */
export function post(file, options, { key, signal, route = "v1/cutout", onProgress = () => {} }) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted(); // It may have been given up before it was sent.
    const request = new XMLHttpRequest();
    request.open("POST", route);
    request.responseType = "blob";
    request.timeout = TIMEOUT_MS;
    if (key) request.setRequestHeader("X-Api-Key", key);
    request.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 0);
    request.upload.onload = () => onProgress(1);
    request.onload = () => (request.status === 200 ? resolve(answer(request)) : problem(request).then(reject));
    request.onerror = () => reject(new Problem("No answer", "The service cannot be reached, or it broke off the upload."));
    request.ontimeout = () => reject(new Problem("No answer", "The service did not answer within five minutes."));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form(file, options));
  });
}

/**
 * The models that answer: `{ model, label }` each, the first the default one, whose `model` is "". Null where the
 * service does not tell, for want of a key or for another reason.
 */
export async function modelsInService(key) {
  try {
    const headers = key ? { "X-Api-Key": key } : {};
    const answer = await fetch("v1/models", { headers, signal: AbortSignal.timeout(MODELS_TIMEOUT_MS) });
    if (!answer.ok) return null;
    const { models } = await answer.json();
    return models.filter(({ role }) => role !== "shadow").map(({ name, version, role }) => {
      const label = `${name}@${version}`;
      return role === "default" ? { model: "", label: `${label} (default)` } : { model: label, label };
    });
  } catch {
    return null; // No connection, too slow, or a proxy's page.
  }
}

function form(file, options) {
  const data = new FormData();
  data.append("image", file, file.name || "photo");
  for (const [name, value] of Object.entries(options)) data.append(name, value);
  return data;
}

function answer(request) {
  return {
    blob: request.response,
    found: request.getResponseHeader("X-Foreground") !== "none",
    confidence: Number(request.getResponseHeader("X-Matte-Confidence") ?? 1),
    subjects: Number(request.getResponseHeader("X-Subjects") ?? 1),
  };
}

async function problem(request) {
  const seconds = Number.parseFloat(request.getResponseHeader("Retry-After"));
  const facts = { status: request.status, retryAfter: Number.isFinite(seconds) ? seconds : null };
  try {
    const [error] = JSON.parse(await request.response.text()).errors;
    return new Problem(error.title, error.detail, facts);
  } catch {
    // A proxy's page, not the service's JSON.
    return new Problem(`Error ${request.status}`, "The service gave no reason.", facts);
  }
}

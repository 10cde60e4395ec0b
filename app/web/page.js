// The page: photos come in, wait in a queue, and are shown and saved. Wires the other modules to index.html.

import { Camera, hasCamera } from "./camera.js";
import { filesOf, hasFiles } from "./dropped_files.js";
import { Editor } from "./editor.js";
import { Keys } from "./keys.js";
import { command, StyleForm } from "./style_form.js";
import { ModelChooser } from "./models.js";
import { cutOut, Photo } from "./photo.js";
import { Queue } from "./queue.js";
import { archive, download, fileName, picture } from "./save.js";
import { post, readable } from "./service.js";
import { Stage } from "./stage.js";
import { Strip } from "./strip.js";
import { SubjectChooser } from "./subjects.js";

const AT_ONCE = 2;
const UNKNOWN_MODEL = 404;
const TITLE = document.title;

const part = (id) => document.getElementById(id);
const limits = { uploadBytes: Number(document.documentElement.dataset.maxUploadBytes) || Infinity };
const photos = [];
const saving = new Set();
let selected = null;
let drawing = 0;
let editing = false;

const keys = new Keys(part("key"), { accepted: lookForModels });
const models = new ModelChooser({ box: part("models"), list: part("model") }, { chosen: (model) => change({ model }) });
const subjects = new SubjectChooser(
  { box: part("subjects"), hint: part("subjects-hint") }, { chosen: (subject) => change({ subject }) },
);
const queue = new Queue(AT_ONCE, work);
const stage = new Stage({
  stage: part("stage"), frame: part("frame"), before: part("before"), after: part("after"), split: part("split"),
  shown: part("shown"), state: part("state"), title: part("state-title"), detail: part("state-detail"),
  progress: part("state-progress"), again: part("again"), notice: part("notice"), noticeTitle: part("notice-title"),
  noticeDetail: part("notice-detail"), finer: part("finer"),
});
const strip = new Strip(part("photos"), part("photo"), { chosen: select, removed: remove });
const form = new StyleForm(part("style"), { changed: restyle, failed: say });
const editor = new Editor(part("editor"), { changed: draw, leave: stopEditing, reread });
const camera = new Camera(part("camera"), (file) => add([file]));

function add(files) {
  if (!files.length) return;
  keys.forgive();
  lookForModels(); // Others may have come since the page was opened.
  const first = !photos.length;
  for (const file of files) {
    const photo = new Photo(file, { model: models.choice, subject: subjects.choice });
    photos.push(photo);
    strip.add(photo);
    queue.add(photo);
  }
  part("welcome").hidden = true;
  part("work").hidden = false;
  if (first) select(photos[0], { focus: true });
  draw();
}

async function work(photo) {
  await cutOut(photo, { limits, keys, changed: draw });
  if (photo.problem?.status === UNKNOWN_MODEL) lookForModels();
}

async function lookForModels() {
  await models.refresh(keys.value);
  draw();
}

function select(photo, { focus = false } = {}) {
  selected = photo;
  strip.select(photo, { focus });
  draw();
}

function remove(photo) {
  const index = photos.indexOf(photo);
  photo.leaving.abort(new DOMException("Removed", "AbortError"));
  editor.forget(photo);
  queue.drop(photo);
  photos.splice(index, 1);
  strip.remove(photo);
  if (photos.length) {
    if (photo === selected) select(photos[Math.min(index, photos.length - 1)], { focus: true });
  } else {
    selected = null;
    editing = false;
    stage.clear();
    part("work").hidden = true;
    part("welcome").hidden = false;
    part("choose").focus();
  }
  draw();
}

function retry(quality) {
  if (!recut({ quality, model: models.available(selected.model) })) return;
  strip.select(selected, { focus: true });
}

/** Another model or subject for the selected photo. */
function change(how) {
  if (selected.state === "waiting") Object.assign(selected, how); // It keeps its place in the queue.
  else recut(how);
  draw();
}

/** Cut the selected photo out anew. What was painted on its cut-out goes; where the person wants it, false comes back. */
function recut(how) {
  if (selected.retouched && !confirm("A new cut-out has none of your brush strokes. Cut out anew?")) return false;
  editor.forget(selected);
  keys.forgive();
  selected.reset(how);
  queue.add(selected);
  draw();
  return true;
}

function edit() {
  if (editing) {
    stopEditing();
    return;
  }
  editing = true;
  showEditor();
  part("surface").focus();
  draw();
}

async function stopEditing() {
  await editor.settle().catch(failedToEdit); // Else the cut-out of before would be seen for a moment.
  editing = false;
  showEditor();
  part("edit").focus();
  draw();
}

/** Show the selected photo in the editor, or in the comparison. */
function showEditor() {
  const open = editing && selected?.state === "done";
  part("editor").hidden = !open;
  part("stage").hidden = open;
  part("edit").disabled = selected?.state !== "done";
  part("edit").querySelector("span").textContent = open ? "Done" : "Edit";
  part("edit").classList.toggle("primary", open);
  part("edit").classList.toggle("plain", !open);
  if (open) editor.open(selected, form.style).catch(failedToEdit);
  else editor.close();
}

function failedToEdit(error) {
  editing = false;
  say(`This cut-out cannot be edited here. ${error.detail ?? error.message}`);
  draw();
}

/** A photo that this browser cannot read, read by the service: the cut-out laid on the photo itself. */
async function reread(photo) {
  return createImageBitmap(await remake(photo, { background: photo.file, format: "png" }));
}

/** Show what is so now; many changes between two frames are one drawing. */
function draw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    for (const photo of photos) strip.update(photo);
    showEditor();
    if (selected) stage.show(selected, form.style);
    models.show(selected?.model ?? models.choice);
    subjects.show(selected);
    const done = photos.filter((photo) => photo.state === "done");
    for (const id of ["save", "copy"]) part(id).disabled = saving.has(id) || selected?.state !== "done";
    part("save-all").disabled = saving.has("save-all");
    const wanted = done.filter(hasPerson);
    part("save-all").hidden = wanted.length < 2;
    part("save-all").lastElementChild.textContent = `Download all ${wanted.length} (ZIP)`;
    tell(done.length);
    guard();
  });
}

function tell(done) {
  const failed = photos.filter((photo) => photo.state === "failed").length;
  const counts = `${done} of ${photos.length} done${failed ? `, ${failed} failed` : ""}.`;
  const single = photos.length === 1 ? `${photos[0].name}: ${photos[0].condition}.` : counts;
  const text = photos.length ? single : "";
  if (part("news").textContent !== text) part("news").textContent = text;
  document.title = photos.some((photo) => photo.pending) ? `${done}/${photos.length} – ${TITLE}` : TITLE;
  const how = { model: selected?.model ?? models.choice, subject: selected?.subject ?? subjects.choice };
  part("curl").textContent = command(form.style, form.format, { ...how, locked: Boolean(keys.value) });
}

/** Leaving while photos are on their way, or strokes are in no file, asks first. Only then: the handler keeps a page out of the back cache. */
function guard() {
  const pending = photos.some((photo) => photo.pending || photo.unsaved);
  (pending ? addEventListener : removeEventListener)("beforeunload", ask);
}

function ask(event) {
  event.preventDefault();
}

function restyle() {
  say("");
  stage.paint(form.style);
  editor.restyle(form.style);
  draw();
}

function say(text) {
  part("saved").textContent = text;
}

function remake(photo, options, route) {
  const { signal } = photo.leaving;
  const all = { ...options, ...photo.how };
  return keys.withKey((key) => post(photo.file, all, { key, signal, route })).then((answer) => answer.blob);
}

/** Run `work` with the button `id` switched off meanwhile, and say how it ended. */
async function busy(id, work) {
  saving.add(id);
  draw();
  try {
    say(await work());
  } catch (error) {
    say(`That did not work. ${error.title ?? ""} ${error.detail ?? error.message}`);
  } finally {
    saving.delete(id);
    draw();
  }
}

async function saveOne() {
  const [photo, format] = [selected, form.format];
  await editor.settle();
  const { version } = photo.edits ?? {};
  download(await picture(photo, form.style, format, remake), fileName(photo, format));
  if (photo.edits) photo.edits.downloaded = version;
  return `${fileName(photo, format)} is made.`;
}

async function copy() {
  const photo = selected;
  // Given as a promise: Safari allows copying only while the click is handled.
  const made = editor.settle().then(() => picture(photo, form.style, "png", remake));
  await navigator.clipboard.write([new ClipboardItem({ "image/png": made })]);
  return "The picture is on the clipboard.";
}

function hasPerson(photo) {
  return photo.result.found || photo.retouched;
}

async function saveAll() {
  await editor.settle();
  const done = photos.filter((photo) => photo.state === "done");
  const wanted = done.filter(hasPerson);
  const { blob, failures } = await archive(wanted, form.style, form.format, {
    ask: remake,
    onProgress: (number) => say(`Making ${number} of ${wanted.length} …`),
  });
  const name = form.format === "matte" ? "mattes.zip" : "cutouts.zip";
  download(blob, name);
  for (const photo of wanted) {
    if (photo.edits && !failures.includes(photo)) photo.edits.downloaded = photo.edits.saved;
  }
  const empty = done.length - wanted.length;
  const left = empty ? ` Left out, because nobody was found: ${empty}.` : "";
  return `${name} is made, with ${wanted.length - failures.length} pictures.${left}`
    + (failures.length ? ` Not made: ${failures.map((photo) => photo.name).join(", ")}.` : "");
}

function listen() {
  for (const id of ["choose", "more"]) {
    part(id).addEventListener("change", ({ target }) => {
      add([...target.files]);
      target.value = ""; // So that the same file can be chosen again.
    });
  }
  addEventListener("paste", async ({ clipboardData }) => {
    if (hasFiles(clipboardData)) add(await filesOf(clipboardData));
  });
  let inside = 0; // Enters less leaves: each element under the pointer counts as both.
  const hover = (step) => ({ dataTransfer }) => {
    if (!hasFiles(dataTransfer)) return;
    inside = step && Math.max(0, inside + step);
    part("veil").hidden = !inside;
  };
  addEventListener("dragenter", hover(1));
  addEventListener("dragleave", hover(-1));
  addEventListener("dragover", (event) => hasFiles(event.dataTransfer) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!hasFiles(event.dataTransfer)) return;
    event.preventDefault();
    hover(0)(event);
    add(await filesOf(event.dataTransfer));
  });
  part("edit").addEventListener("click", edit);
  part("remove").addEventListener("click", () => remove(selected));
  part("clear").addEventListener("click", () => [...photos].forEach(remove));
  part("again").addEventListener("click", () => retry(selected.quality));
  part("finer").addEventListener("click", () => retry("high"));
  part("style").addEventListener("submit", (event) => {
    event.preventDefault();
    busy("save", saveOne);
  });
  part("copy").addEventListener("click", () => busy("copy", copy));
  part("save-all").addEventListener("click", () => busy("save-all", saveAll));
  part("copy-curl").addEventListener("click", () => navigator.clipboard.writeText(part("curl").textContent));
}

async function prepare() {
  listen();
  draw();
  lookForModels();
  for (const place of document.querySelectorAll("[data-limit]")) {
    place.textContent = readable(limits.uploadBytes);
  }
  part("copy").hidden = !globalThis.ClipboardItem;
  part("copy-curl").hidden = !navigator.clipboard;
  const available = await hasCamera();
  for (const button of document.querySelectorAll(".camera")) {
    button.hidden = !available;
    button.addEventListener("click", () => camera.open());
  }
}

prepare();

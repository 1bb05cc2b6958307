// The page of ./darkroom serve. Text becomes text (textContent), never markup.
"use strict";

const setup = JSON.parse(document.getElementById("photos").dataset.setup);
const photos = document.getElementById("photos"), drop = document.getElementById("drop"), files = document.getElementById("files");
const SHOWN = 5; // classes in a table; the others are folded
let queue = Promise.resolve(), waiting = 0;

function make(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...content.filter((each) => each !== null));
  return made;
}

// A name that comes from files or data: its direction changes nothing beside it.
const named = (text) => make("bdi", { class: "name" }, text);
const say = (text) => { document.getElementById("status").textContent = text; };

async function ask(path, form, headers = {}) {
  let response;
  try {
    response = await fetch(path, { method: "POST", body: form, headers });
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  let told;
  try {
    told = await response.json();
  } catch {
    throw new Error(`the server answered with status ${response.status}`);
  }
  if (!response.ok) throw new Error(told.error);
  return told;
}

function formOf(file) {
  const form = new FormData();
  form.append("file", file, file.name);
  return form;
}

const query = (model, more = {}) => "?" + new URLSearchParams({ model: model.name, ...more });

function ranks(top) {
  const rows = top.map((each) => {
    const level = make("span");
    level.style.width = `${100 * each.probability}%`;
    return make("tr", {}, make("th", { scope: "row" }, named(each.class)),
      make("td", { class: "number" }, each.probability.toFixed(4)), make("td", { class: "level", "aria-hidden": "true" }, level));
  });
  const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "class"),
    make("th", { scope: "col", class: "number" }, "probability"), make("td")));
  return make("table", { class: "ranks" }, head, make("tbody", {}, ...rows));
}

function verdict(found, model) {
  const best = found.top[0];
  if (model.multilabel) return make("p", { class: "verdict" }, found.classes.length ? "" : "none of the classes",
    ...found.classes.flatMap((each, place) => [place ? ", " : "", named(each)]));
  return make("p", { class: "verdict" }, named(found.class), found.class === best.class ? make("small", {}, ` ${best.probability.toFixed(4)}`) : "");
}

function doubts(found) {
  const lines = [];
  if (found.why && found.why.includes("foreign")) lines.push("It looks like none of the classes that were trained.");
  if (found.why && found.why.includes("uncertain")) lines.push("The model is too uncertain to name one class.");
  if (found.set && found.set.length > 1) lines.push(`Cannot be told apart with the stated certainty: ${found.set.join(", ")}.`);
  return lines.map((line) => make("p", { class: "bad" }, line));
}

async function predict(file, model, place) {
  const box = make("div", {}, setup.models.length > 1 ? make("h3", {}, named(model.name)) : null);
  place.append(box);
  try {
    const told = await ask("/predict" + query(model, { top_k: Math.max(1, model.classes.length) }), formOf(file));
    const found = told.predictions[0];
    box.append(verdict(found, model), ...doubts(found), ranks(found.top.slice(0, SHOWN)));
    if (found.top.length > SHOWN) {
      box.append(make("details", {}, make("summary", {}, `${found.top.length - SHOWN} more classes`), ranks(found.top.slice(SHOWN))));
    }
    return { model, found, box };
  } catch (error) {
    box.append(make("p", { class: "bad" }, error.message));
    return null;
  }
}

async function explain(file, { model, found, box }) {
  const note = make("p", { class: "soft" }, "Looking for what speaks for it …");
  box.append(note);
  try {
    const why = await ask("/explain" + query(model, { class: found.top[0].class }), formOf(file));
    note.remove();
    const heat = make("figure", {}, make("img", { src: why.heat || why.image, alt: why.heat ? `heat: what speaks for ${why.explained}` : "what the network sees" }),
      make("figcaption", {}, why.heat ? "what speaks for " : "what the network sees; it has no layer to draw heat from", why.heat ? named(why.explained) : ""));
    const near = why.nearest.map((each) => make("li", {}, make("img", { src: each.image, alt: `training image of ${each.class}` }),
      make("b", { class: each.class === found.top[0].class ? null : "bad" }, named(each.class)), ` ${each.similarity.toFixed(2)}`));
    const title = why.heat ? "What speaks for it" : "What the network sees";
    box.append(make("h3", {}, near.length ? `${title}, and the nearest training images` : title),
      make("div", { class: "why" }, heat, make("ul", { class: "images" }, ...near)));
  } catch (error) {
    note.textContent = `It cannot be explained: ${error.message}`;
  }
}

function correcting(file, { model, found }) {
  const kept = make("span", { role: "status" }), button = make("button", { type: "submit" }, "Save");
  let chosen;
  const form = make("form", { class: "correct" });
  if (model.multilabel) {
    const boxes = model.classes.map((name) => {
      const box = make("input", { type: "checkbox", value: name });
      box.checked = found.classes.includes(name);
      return box;
    });
    chosen = () => boxes.filter((each) => each.checked).map((each) => each.value);
    form.append(make("fieldset", {}, make("legend", {}, "Its classes are"), ...boxes.map((each) => make("label", {}, each, " ", named(each.value)))));
  } else {
    const select = make("select", {}, ...model.classes.map((name) => make("option", { value: name }, name)));
    select.value = found.top[0].class;
    chosen = () => [select.value];
    form.append(make("label", {}, "Its class is ", select));
  }
  form.append(button, kept);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    kept.className = "";
    const sent = formOf(file);
    for (const label of chosen()) sent.append("label", label);
    try {
      const row = await ask("/corrections" + query(model), sent, { "X-Darkroom-Page": "1" });
      kept.textContent = `Saved as ${row.label || "none of the classes"}, in ${row.table}.`;
    } catch (error) {
      kept.className = "bad";
      kept.textContent = error.message;
    }
    button.disabled = false;
  });
  return form;
}

async function show(file) {
  const preview = make("img", { alt: "the photo" }), address = URL.createObjectURL(file);
  preview.addEventListener("error", () => preview.replaceWith(make("p", { class: "soft" }, "This browser cannot show the file.")));
  preview.src = address;
  const answers = make("div", { class: "answers" });
  const card = make("section", { class: "photo" }, make("h2", {}, named(file.name)), make("div", { class: "seen" }, preview, answers));
  photos.prepend(card);
  card.setAttribute("aria-busy", "true");
  const told = (await Promise.all(setup.models.map((model) => predict(file, model, answers)))).filter((each) => each);
  if (told.length) say(`${file.name}: ` + told.map(({ model, found }) => (setup.models.length > 1 ? `${model.name} says ` : "")
    + (model.multilabel ? found.classes.join(", ") || "none" : found.class)).join("; "));
  else say(`${file.name} was refused`);
  if (new Set(told.map(({ model, found }) => (model.multilabel ? found.classes.join() : found.class))).size > 1) {
    answers.before(make("p", { class: "bad differs" }, "The models say different things."));
  }
  for (const each of told) await explain(file, each);
  if (setup.collects && told.length) card.append(correcting(file, told[0]));
  card.removeAttribute("aria-busy");
}

function take(list) {
  const images = [...list];
  if (!images.length) return;
  if (images.length > setup.maxImages) { say(`These are ${images.length} files; choose at most ${setup.maxImages} at once.`); return; }
  waiting += images.length;
  say(waiting > 1 ? `${waiting} photos are on their way …` : "The photo is on its way …");
  for (const file of images) queue = queue.then(() => show(file)).finally(() => { waiting -= 1; });
}

files.addEventListener("change", () => { take(files.files); files.value = ""; });
for (const name of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") take(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => take(event.clipboardData.files));

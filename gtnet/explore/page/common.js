// What all parts of the page use: elements, sentences, views, questions to the server, files.

import { draw } from "./view.js";

export const $ = (id) => document.getElementById(id);

/** The number of this page: what it teaches a reader, others do not see. */
export const PAGE = crypto.randomUUID();

export function make(name, attributes = {}, parent = null, text = null) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  if (text !== null) found.textContent = text;
  parent?.append(found);
  return found;
}

const sentences = new Map();

/** Say a sentence above the page about something, or nothing more about it. */
export function tell(text, about = "page") {
  sentences.delete(about);
  if (text) sentences.set(about, text);
  const last = [...sentences.values()].at(-1);
  $("told").textContent = last ?? "";
  $("told").hidden = !last;
}

/** What the server answers; null, with a sentence on the page, where it cannot. */
export async function ask(path, body) {
  const file = body instanceof Blob;
  const request = body === undefined ? {} : {
    method: "POST",
    body: file ? body : JSON.stringify(body),
    headers: { "content-type": file ? "application/octet-stream" : "application/json" },
  };
  let answer, told;
  try {
    answer = await fetch(path, request);
    const text = await answer.text();
    told = answer.headers.get("content-type")?.startsWith("application/json")
      ? JSON.parse(text) : { error: text };
  } catch {
    tell("The server does not answer: is gtnet explore still running?", path);
    return null;
  }
  tell(answer.ok ? "" : told.error, path);
  if (!answer.ok) return null;
  return told;
}

/** Shows data in a part of the page, in the view that is there, a new one or none. */
export function showView(views, name, place, data, options) {
  if (!data) {
    views[name]?.remove();
    delete views[name];
  } else if (views[name]) {
    views[name].update(data, true);
  } else {
    views[name] = draw($(place), data, options);
  }
}

/** Ask again whenever something changed, one question at a time. */
export function keepAsking(question, show) {
  let busy = false, again = false;
  return async function changed() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    document.body.classList.add("busy");
    do {
      again = false;
      await show(await question());
    } while (again);
    busy = false;
    document.body.classList.remove("busy");
  };
}

export function save(name, content, kind) {
  const blob = content instanceof Blob ? content : new Blob([content], { type: kind });
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export function pick(input, use) {
  input.value = "";
  input.onchange = () => input.files[0] && use(input.files[0]);
  input.click();
}

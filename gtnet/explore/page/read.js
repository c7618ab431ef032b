// Reading: the paper, the answers, and the picture of every step between them.

import { BETAS, betaName } from "./view.js";
import { Paper } from "./paper.js";
import { startLearning } from "./learn.js";
import { $, PAGE, ask, keepAsking, make, pick, save, showView, tell } from "./common.js";

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, parent, text) {
  const found = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  if (text !== undefined) found.textContent = text;
  parent?.append(found);
  return found;
}

const percent = (p) => (p > 0 && p < 0.001 ? "<0.1%" : `${(100 * p).toFixed(1)}%`);

export function startReading(about) {
  const state = { said: {}, forbidden: new Set(), index: -1,
    opened: { recognition: [], interpretation: [] } };
  const views = {};
  const readers = about.readers, several = readers.length > 1;
  arrangeReaders();

  if (innerWidth < 600) $("paper").width = 400; // as high as a finger needs
  const paper = new Paper($("paper"), () => {
    tell("", "image");
    tell("");
    state.said = {};
    state.forbidden.clear();
    afresh();
  });

  /** A list of answers and a graph for every reader, where there are several. */
  function arrangeReaders() {
    for (const part of ["each", "beside", "learner-line"]) $(part).hidden = !several;
    readers.forEach(({ name, front_end: kind }, at) => {
      make("option", { value: at }, $("learner"), name);
      if (!several) return;
      const list = make("div", {}, $("each"));
      make("h3", {}, list, `${name} · ${kind}`);
      make("ol", { id: `answers${at}`, class: "answers" }, list);
      if (!at) return;
      const part = make("section", {}, $("beside"));
      const title = make("h2", {}, part, "Interpretation graph ");
      make("span", { class: "quiet" }, title, `${name} · ${kind}`);
      make("div", { id: `interpretation${at}` }, part);
    });
    if (!several) return;
    $("answers-note").textContent = "all readers together, then each alone";
    $("interpretation-note").textContent = `${readers[0].name} · ${readers[0].front_end}`;
  }

  function afresh() {
    state.opened = { recognition: [], interpretation: [] };
    changed();
  }

  function question() {
    return {
      page: PAGE,
      image: paper.picture,
      strokes: readers.some((one) => one.front_end === "strokes") ? paper.strokes : [],
      beta: BETAS[$("beta").value] === Infinity ? null : BETAS[$("beta").value],
      beam: Number($("beam").value) === 30 ? 1e6 : Number($("beam").value),
      said: state.said,
      forbidden: [...state.forbidden],
      language: $("language").value,
      text: $("expression").value,
      opened: state.opened,
    };
  }

  const changed = keepAsking(
    async () => {
      $("hint").hidden = !paper.empty;
      if (paper.empty) return { empty: true, message: "" };
      const began = performance.now();
      const found = await ask("read", question());
      if (found) found.took = performance.now() - began;
      return found;
    },
    (found) => {
      if (found) show(found);
    },
  );

  function show(found) {
    document.body.dataset.answers = String(Number(document.body.dataset.answers ?? 0) + 1);
    const nothing = Boolean(found.empty);
    for (const part of ["cuts", "segments"]) $(part).replaceChildren();
    if (several) {
      const told = BETAS[$("beta").value] === Infinity && !nothing ? "no sum at ∞: see each reader" : "";
      showAnswers("answers", nothing ? [] : found.together, found.message || told);
      [found, ...(found.beside ?? [])].forEach((own, at) =>
        showAnswers(`answers${at}`, nothing ? [] : own.answers, "", at));
    } else showAnswers("answers", nothing ? [] : found.answers, found.message, 0);
    if (!nothing) {
      showCuts(found);
      showSegments(found.segments);
    }
    $("segments-part").hidden = readers[0].front_end !== "segments";
    for (const name of ["recognition", "interpretation"]) showGraph(name, found[name]);
    for (let at = 1; at < readers.length; at += 1) {
      showGraph(`interpretation${at}`, found.beside?.[at - 1].interpretation);
    }
    $("recognition-part").hidden = !nothing && !found.recognition;
    if (!nothing) {
      const all = [found, ...(found.beside ?? [])].map((own) => own.milliseconds);
      const [seen, read, drawn] = [0, 1, 2].map((k) => all.reduce((sum, own) => sum + own[k], 0));
      $("times").textContent = `${Math.round(found.took)} ms from question to answer: seen in `
        + `${seen}, read in ${read}, laid out in ${drawn}`;
    }
  }

  function showGraph(name, data) {
    showView(views, name, name, data, {
      label: data?.title,
      height: 300,
      onState(found) {
        if (!found.hidden) return;
        (state.opened[name] ??= []).push(found.id);
        changed();
      },
    });
  }

  /** `at`: the reader whose answers these are, none for those of all together. */
  function showAnswers(id, answers, message, at) {
    const list = $(id);
    list.replaceChildren();
    if (!answers.length) {
      const empty = at && several ? "" : "nothing is drawn yet";
      make("p", { class: "quiet" }, list, message || (paper.empty ? empty : "no reading"));
    }
    const threshold = readers[at]?.threshold ?? null;
    answers.forEach((answer, place) => {
      const item = make("li", {}, list);
      const button = make("button", { type: "button", "aria-pressed": "false",
        title: at === undefined ? "" : "show its best path" }, item);
      const name = make("span", {}, button, answer.text);
      if (place === 0 && threshold !== null && typeof answer.accepted === "boolean") {
        make("span", { class: `verdict ${answer.accepted ? "good" : ""}` }, name,
          answer.accepted ? "accepted" : `rejected, below ${threshold.toFixed(3)}`);
      }
      button.classList.toggle("rejected", answer.accepted === false);
      make("span", { class: "share" }, button, percent(answer.confidence));
      const bar = make("i", {}, make("span", { class: "bar" }, button));
      bar.style.width = `${100 * answer.confidence}%`;
      button.addEventListener("click", () => {
        const was = button.getAttribute("aria-pressed") === "true";
        for (const other of list.querySelectorAll("button")) other.ariaPressed = "false";
        button.ariaPressed = String(!was);
        views[`interpretation${at || ""}`]?.mark(was ? [] : answer.arcs ?? []);
      });
    });
  }

  function showCuts({ size, cuts, segments }) {
    const [wide, high] = size;
    // The part with ink: what a person drew on much paper is shown large.
    const x = cuts.flatMap(({ line }) => [line[0], line[2]]);
    const y = segments.flatMap(({ box }) => [box[1], box[3]]);
    const left = Math.max(0, Math.min(...x, wide) - 12), top = Math.max(0, Math.min(...y, high) - 6);
    const broad = Math.min(wide, Math.max(...x, 0) + 12) - left;
    const tall = Math.min(high, Math.max(...y, 0) + 6) - top;
    const cut = cuts.length && segments.length && broad > 0 && tall > 0;
    const letters = Math.max(9, (cut ? tall : high) * 0.16);
    const seen = cut ? [left, top - letters, broad, tall + letters]
      : [0, -letters, wide, high + letters];
    const picture = svg("svg", { viewBox: seen.join(" "), role: "group",
      "aria-label": "the image with its cuts" }, $("cuts"));
    svg("image", { href: paper.picture, width: wide, height: high }, picture);
    for (const segment of segments.filter((one) => one.best)) {
      const [x0, y0, x1, y1] = segment.box;
      svg("rect", { class: "box", x: x0, y: y0, width: x1 - x0, height: y1 - y0,
        "data-segment": segment.id }, picture);
      svg("text", { x: (x0 + x1) / 2, y: y0 - 2, "font-size": letters }, picture, segment.read);
    }
    for (const cut of cuts) {
      const [x1, y1, x2, y2] = cut.line;
      const g = svg("g", { class: "cut" }, picture);
      const reach = 0.12 * (y2 - y1);
      const ends = { x1: x1 + (x1 - x2) * 0.12, y1: y1 - reach, x2: x2 + (x2 - x1) * 0.12,
        y2: y2 + reach };
      svg("line", { class: "seen", ...ends }, g);
      if (!cut.inner) continue;
      svg("line", { class: "hit", ...ends }, g);
      g.classList.add("inner");
      g.classList.toggle("forbidden", cut.forbidden);
      for (const [key, value] of Object.entries({ tabindex: 0, role: "button", "data-cut": cut.id,
        "aria-pressed": cut.forbidden, "aria-label": `forbid cut ${cut.id}` })) {
        g.setAttribute(key, value);
      }
      const turn = () => {
        if (!state.forbidden.delete(cut.id)) state.forbidden.add(cut.id);
        afresh();
      };
      g.addEventListener("click", turn);
      g.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          turn();
        }
      });
    }
  }

  function showSegments(segments) {
    for (const segment of segments) {
      const item = make("div", { role: "listitem" }, $("segments"));
      const button = make("button", { type: "button", "data-segment": segment.id,
        "aria-label": `segment from cut ${segment.from} to ${segment.to}, probability `
          + `${(100 * segment.p).toFixed(0)}%, read as ${segment.read || "nothing"}` }, item);
      button.classList.toggle("best", segment.best);
      button.classList.toggle("said", segment.said);
      button.style.setProperty("--p", Math.max(segment.best ? 1 : 0, segment.p));
      make("img", { src: segment.image, alt: "" }, button);
      make("span", { class: "quiet" }, button,
        `${segment.from}–${segment.to}  ${(100 * segment.p).toFixed(0)}%`);
      for (const { name, p } of segment.scores.slice(0, 2)) {
        const row = make("span", { class: "score" }, button);
        make("b", {}, row, name);
        make("i", {}, row).style.width = `${100 * p}%`;
      }
      const box = () => document.querySelector(`#cuts [data-segment="${segment.id}"]`);
      button.addEventListener("pointerenter", () => box()?.classList.add("at"));
      button.addEventListener("pointerleave", () => box()?.classList.remove("at"));
      button.addEventListener("click", () => choose(segment, button));
    }
  }

  function choose(segment, button) {
    const panel = $("choices");
    panel.replaceChildren();
    make("span", { class: "quiet" }, panel, "This segment is");
    const rows = make("div", {}, panel);
    const close = () => {
      panel.hidden = true;
      button.focus();
    };
    const offer = (name, value) => {
      const one = make("button", { type: "button", "data-says": value ?? "anything" }, rows, name);
      one.addEventListener("click", () => {
        if (value === null) delete state.said[segment.id];
        else state.said[segment.id] = value;
        close();
        afresh();
      });
    };
    for (const character of about.alphabet) offer(character, character);
    offer("no character", "");
    offer("let the reader say", null);
    panel.hidden = false;
    const box = button.getBoundingClientRect();
    panel.style.top = `${box.bottom + scrollY + 6}px`;
    panel.style.left = `${Math.max(8, Math.min(box.left, innerWidth - panel.offsetWidth - 8))}px`;
    rows.firstChild.focus();
    panel.onkeydown = (event) => event.key === "Escape" && close();
  }

  document.addEventListener("pointerdown", (event) => {
    if (!$("choices").contains(event.target)) $("choices").hidden = true;
  });

  // Tools

  for (const name of ["pen", "eraser"]) {
    $(name).addEventListener("click", () => {
      paper.erasing = name === "eraser";
      for (const other of ["pen", "eraser"]) $(other).ariaPressed = String(other === name);
    });
  }
  $("width").addEventListener("input", () => { paper.width = Number($("width").value); });
  $("undo").addEventListener("click", () => paper.undo());
  $("clear").addEventListener("click", () => paper.clear());
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select");
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing && !$("read").hidden) {
      event.preventDefault();
      paper.undo();
    }
  });

  async function put(file) {
    const found = await ask("image", file);
    if (!found) return;
    $("truth-of-sample").textContent = file.name ?? "";
    await paper.show(found.image);
  }

  $("open").addEventListener("click", () => pick($("file"), put));
  const sheet = document.querySelector(".paper");
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      sheet.classList.toggle("over", name === "dragover" && !$("read").hidden);
      if (name === "drop" && event.dataTransfer.files[0] && !$("read").hidden) {
        put(event.dataTransfer.files[0]);
      }
    });
  }
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file && !$("read").hidden) put(file);
  });
  $("sample").disabled = !about.samples;
  $("sample").addEventListener("click", async () => {
    state.index += 1;
    const found = await ask("sample", { index: state.index });
    if (!found) return;
    $("truth-of-sample").textContent = `number ${found.index + 1}: ${found.truth}`;
    $("truth").value = found.truth;
    await paper.show(found.image);
  });

  // Settings

  const say = () => {
    $("beta-value").textContent = betaName(BETAS[$("beta").value]);
    $("beam-value").textContent = $("beam").value === "30" ? "whole" : $("beam").value;
    $("expression").hidden = !["expression", "words"].includes($("language").value);
    $("expression").placeholder = $("language").value === "words" ? "12.50 27.50 100.00"
      : "[1-9]\\d*\\.\\d\\d";
  };
  for (const name of ["beta", "beam"]) {
    $(name).addEventListener("input", () => {
      say();
      changed();
    });
  }
  $("language").addEventListener("change", () => {
    say();
    if ($("expression").hidden || $("expression").value) afresh();
    else $("expression").focus();
  });
  $("expression").addEventListener("input", () => {
    if ($("expression").value) afresh();
  });
  say();

  $("save-interpretation").addEventListener("click", () => {
    if (views.interpretation) save("interpretation.svg", views.interpretation.picture(), "image/svg+xml");
  });

  $("compose").addEventListener("click", async () => {
    if (paper.empty) return tell("Draw something first.");
    const found = await ask("operands", question());
    if (found) dispatchEvent(new CustomEvent("compose", { detail: found }));
  });

  startLearning(about, { question, changed, isEmpty: () => paper.empty });
  show({ empty: true, message: "" });
}

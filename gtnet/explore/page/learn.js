// Learning by looking: losses of the image, their gradients on the graph, and steps along them.

import { draw } from "./view.js";
import { $, ask, make, tell } from "./common.js";

export function startLearning(about, { question, changed, isEmpty }) {
  let views = [], course = [];
  for (const name of about.losses) make("option", { value: name }, $("loss"), name);
  make("option", { value: "" }, $("other"), "no other loss");
  for (const name of about.losses) make("option", { value: name }, $("other"), name);

  function asked() {
    const truth = $("truth").value.trim();
    tell("");
    if (isEmpty()) tell("Draw something first.");
    else if (!truth) {
      tell("Type the true answer first.");
      $("truth").focus();
    } else {
      return { ...question(), truth, reader: Number($("learner").value || 0), losses: [$("loss").value, $("other").value].filter(Boolean) };
    }
    return null;
  }

  async function look() {
    const body = asked();
    const found = body && await ask("learn", body);
    if (found) show(found);
  }

  function show({ parts, losses }) {
    $("learnt").hidden = false;
    $("parts").replaceChildren();
    for (const { name, meaning, value } of parts) {
      make("dt", {}, $("parts"), name);
      make("dd", {}, $("parts"), value);
      make("dd", { class: "quiet" }, $("parts"), meaning);
    }
    for (const view of views) view.remove();
    $("gradients").replaceChildren();
    views = losses.map(({ name, value, about: meaning, view }) => {
      const part = make("div", {}, $("gradients"));
      const title = make("h3", { title: meaning }, part);
      title.textContent = `${name} = ${value === null ? "+∞" : value.toFixed(4)}`;
      return draw(part, view, { label: view.title, height: 400 });
    });
    document.body.dataset.learnt = String(Number(document.body.dataset.learnt ?? 0) + 1);
    if (innerWidth < 820) $("learnt").scrollIntoView({ block: "start" });
  }

  async function step(steps) {
    const body = asked();
    if (!body) return;
    for (const name of ["step", "train", "gradient"]) $(name).disabled = true;
    const found = await ask("step", { ...body, loss: $("loss").value, steps });
    for (const name of ["step", "train", "gradient"]) $(name).disabled = false;
    if (!found) return;
    course = course.length ? [...course, ...found.values.slice(1)] : found.values;
    showCourse();
    await changed();
    await look();
  }

  function showCourse() {
    const most = Math.max(...course, 1e-9), least = Math.min(...course, 0);
    const points = course.map((value, at) =>
      `${(100 * at / Math.max(1, course.length - 1)).toFixed(2)},`
        + `${(46 - 42 * (value - least) / (most - least)).toFixed(2)}`);
    const told = `loss ${course[0]} → ${course.at(-1)} in ${course.length - 1} `
      + `${course.length === 2 ? "step" : "steps"}`;
    $("course").replaceChildren();
    const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    picture.setAttribute("viewBox", "0 0 100 50");
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", told);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", points.join(" "));
    picture.append(line);
    $("course").append(picture);
    make("span", { class: "quiet" }, $("course"), told);
  }

  $("gradient").addEventListener("click", look);
  $("step").addEventListener("click", () => step(1));
  $("train").addEventListener("click", () => step(20));
  $("truth").addEventListener("keydown", (event) => event.key === "Enter" && look());
  $("forget").addEventListener("click", async () => {
    if (!await ask("forget", { page: question().page })) return;
    course = [];
    $("course").replaceChildren();
    $("learnt").hidden = true;
    changed();
  });
}

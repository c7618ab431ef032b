// The page: its two tabs.

import { $, ask, tell } from "./common.js";
import { startGraphs } from "./graphs.js";
import { startReading } from "./read.js";

function turnTo(name) {
  for (const tab of ["read", "graphs"]) {
    $(tab).hidden = tab !== name;
    $(`tab-${tab}`).setAttribute("aria-selected", tab === name);
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  tell("");
  dispatchEvent(new CustomEvent("turned", { detail: name }));
}

function startTheme() {
  const dark = () => document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
  });
}

async function start() {
  startTheme();
  for (const tab of ["read", "graphs"]) {
    $(`tab-${tab}`).addEventListener("click", () => turnTo(tab));
  }
  document.querySelector("nav").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = $("read").hidden ? "read" : "graphs";
    turnTo(other);
    $(`tab-${other}`).focus();
  });
  const about = await ask("about");
  if (!about) return;
  const names = about.readers.map((reader) => `${reader.name} · ${reader.front_end}`);
  $("model").textContent = [...names, `gtnet ${about.version}`].join(" · ");
  startReading(about);
  startGraphs(about);
  document.body.dataset.ready = "yes";
}

start();

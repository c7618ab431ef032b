// One graph as an SVG that can be touched: hover, zoom, pan, click, keys. Used by the page of
// `gtnet explore`, by the notebook widget (anywidget) and by self-contained files. Texts of graphs
// are set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const ROW = 15, EDGE = 18;
const LEAST = 0.55, MOST = 6, USUAL = 1.3;

function make(name, attributes = {}, parent = null, text = null) {
  const svg = ["svg", "g", "path", "circle", "rect", "text", "image", "tspan", "title"];
  const found = svg.includes(name)
    ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  if (text !== null) found.textContent = text;
  parent?.append(found);
  return found;
}

const percent = (p) => (p >= 0.9995 ? "100%" : p < 0.0005 ? "<0.1%" : `${(100 * p).toFixed(1)}%`);

/** What a screen reader says of an arc. */
function told(edge, arc, names) {
  const parts = [`arc ${arc.name}, from ${names.get(edge.source)} to ${names.get(edge.target)}`];
  parts.push(`score ${arc.score}`);
  if (arc.p !== undefined) parts.push(`probability ${percent(arc.p)}`);
  if (arc.push !== undefined) parts.push(arc.push >= 0 ? "pushed up" : "pushed down");
  if (arc.best) parts.push("on the best path");
  return parts.join(", ");
}

/**
 * Draw a graph into an element. Returns what can be done with the drawing.
 *
 * options: label, what it is called; onArc(arc, edge, event), onState(state), onHover(arc or null),
 * onSelect(ids), height, the most pixels.
 */
export function draw(element, data, options = {}) {
  const root = make("div", { class: "gtnet-view" }, element);
  const frame = make("div", { class: "frame" }, root);
  const svg = make("svg", { tabindex: "0", role: "application" }, frame);
  const card = make("div", { class: "card", hidden: "" }, frame);
  const foot = make("div", { class: "foot" }, root);
  const note = make("p", { class: "note" }, foot);
  const tools = make("div", { class: "tools" }, foot);
  const voice = make("p", { class: "voice", "aria-live": "polite" }, root);
  const state = { data, x: 0, y: 0, scale: 1, selected: new Set(), at: null };
  let edges, circles, names, leaving, entering;

  for (const [sign, name, act] of [
    ["+", "zoom in", () => zoom(1.3)],
    ["−", "zoom out", () => zoom(1 / 1.3)],
    ["⤢", "fit the graph into view", fit],
  ]) {
    const button = make("button", { type: "button", "aria-label": name, title: name }, tools, sign);
    button.addEventListener("click", act);
  }

  function build() {
    svg.replaceChildren();
    const { data } = state;
    const [wide, high] = data.size.map((side) => side + 2 * EDGE);
    svg.setAttribute("viewBox", `${-EDGE} ${-EDGE} ${wide} ${high}`);
    svg.style.width = `${wide}px`;
    svg.style.height = `${high}px`;
    svg.setAttribute("aria-label", `${options.label ?? data.title ?? "graph"}: ${data.shown[0]} `
      + `states, ${data.shown[1]} arcs; arrow keys follow arcs, Enter chooses`);
    names = new Map(data.states.map((s) => [s.id, s.name]));
    edges = data.edges.map((edge) => drawEdge(edge, data));
    [leaving, entering] = ["source", "target"].map((end) => {
      const found = new Map(data.states.map((s) => [s.id, []]));
      for (const { edge } of edges) found.get(edge[end]).push(edge);
      return found;
    });
    circles = new Map(data.states.map((s) => [s.id, drawState(s)]));
    note.textContent = data.note ?? "";
    root.classList.toggle("gradient", Boolean(data.gradient));
    root.classList.toggle("empty", !data.states.length);
    card.hidden = true;
    state.at = null;
    mark([...state.selected], "selected");
  }

  function drawEdge(edge, data) {
    const g = make("g", { class: "edge" }, svg);
    const p = Math.min(1, edge.arcs.reduce((sum, arc) => sum + (arc.p ?? 0), 0));
    const best = edge.arcs.some((arc) => arc.best);
    const strongest = edge.arcs.reduce((a, b) =>
      Math.abs(b.push ?? 0) > Math.abs(a.push ?? 0) ? b : a);
    const share = data.gradient
      ? Math.abs(strongest.push) / Math.max(data.most, 1e-12) : data.posteriors ? p : 0.35;
    g.style.setProperty("--share", `${(100 * Math.min(1, share)).toFixed(1)}%`);
    g.style.setProperty("--wide", (0.9 + 2.4 * Math.min(1, share)).toFixed(2));
    g.classList.toggle("best", best);
    g.classList.toggle("impossible", edge.arcs.every((arc) => arc.impossible));
    if (data.gradient && share > 0.004) g.classList.add(strongest.push > 0 ? "up" : "down");
    const [broad, high] = edge.box; // paper behind the label, but not over its own line
    make("rect", { class: "room", x: edge.x - broad / 2 - 2, y: edge.y - high / 2 - 1,
      width: broad + 4, height: high + 2, rx: 3 }, g);
    make("path", { class: "hit", d: edge.path }, g);
    make("path", { class: "line", d: edge.path }, g);
    make("path", { class: "arrow", d: arrow(edge.path) }, g);
    const rows = drawLabel(edge, g, data);
    const found = { edge, g, rows };
    g.addEventListener("pointerenter", (event) => look(found, edge.arcs[0], event));
    g.addEventListener("pointerleave", unlook);
    g.addEventListener("click", (event) => choose(found, rowOf(found, event), event));
    return found;
  }

  function drawLabel(edge, g, data) {
    const high = edge.box[1], top = edge.y - high / 2;
    const pictures = edge.images.map((at) => data.images[at]);
    let x = edge.x - pictures.reduce((sum, picture) => sum + picture.width + 4, -4) / 2;
    for (const picture of pictures) {
      make("rect", { class: "paper", x: x - 1, y: top, width: picture.width + 2,
        height: picture.height + 2, rx: 1.5 }, g);
      make("image", { href: picture.uri, x, y: top + 1, width: picture.width,
        height: picture.height }, g);
      x += picture.width + 4;
    }
    const lines = edge.arcs.length - edge.rows ? edge.rows + 1 : edge.rows;
    let y = top + high - ROW * lines + 11.5;
    const rows = new Map();
    for (const arc of edge.arcs.slice(0, edge.rows)) {
      const row = make("text", { x: edge.x, y, class: "row" }, g);
      if (arc.best) row.classList.add("best");
      if (arc.push > 0.004) row.classList.add("up");
      if (arc.push < -0.004) row.classList.add("down");
      make("tspan", { class: "name" }, row, arc.name);
      if (arc.value) make("tspan", { class: "value", dx: 4 }, row, arc.value);
      row.addEventListener("pointerenter", (event) => look(found(), arc, event));
      rows.set(row, arc);
      y += ROW;
    }
    if (lines > edge.rows) {
      make("text", { x: edge.x, y, class: "row more" }, g,
        `+ ${edge.arcs.length - edge.rows} more`);
    }
    const found = () => edges.find((other) => other.g === g);
    return rows;
  }

  function rowOf(found, event) {
    return found.rows.get(event.target.closest("text")) ?? found.edge.arcs[0];
  }

  function drawState(s) {
    const g = make("g", { class: "state" }, svg);
    const high = 26;
    const box = (grow) => ({ x: s.x - s.width / 2 - grow, y: s.y - high / 2 - grow,
      width: s.width + 2 * grow, height: high + 2 * grow, rx: high / 2 + grow });
    make("rect", { class: "disc", ...box(-1) }, g);
    if (s.accept !== undefined) make("rect", { class: "ring", ...box(-4) }, g);
    g.classList.toggle("start", s.start !== undefined);
    make("text", { x: s.x, y: s.y + 4 }, g, s.name);
    const ends = [s.start && `in ${s.start}`, s.accept && `out ${s.accept}`].filter(Boolean);
    ends.forEach((end, row) =>
      make("text", { class: "end", x: s.x, y: s.y + 25 + 11 * row }, g, end));
    if (s.hidden) {
      g.classList.toggle("closed", Boolean(options.onState));
      make("text", { class: "rest", x: s.x, y: s.y - 16 }, g, `+${s.hidden}`);
    }
    make("title", {}, g, [`state ${s.name}`, s.start !== undefined && "start",
      s.accept !== undefined && "accept",
      s.hidden && `${s.hidden} arcs not shown${options.onState ? ": click to open" : ""}`].filter(Boolean).join(", "));
    g.addEventListener("click", () => !moved && options.onState?.(s));
    return g;
  }

  // What is looked at

  function look(found, arc, event) {
    if (dragging) return;
    state.at = { found, arc };
    const { edge } = found;
    for (const other of edges) other.g.classList.toggle("at", other === found);
    const on = through(edge);
    root.classList.add("looking");
    for (const other of edges) other.g.classList.toggle("on", on.has(other.edge));
    card.replaceChildren();
    const picture = arc.image === undefined ? null : state.data.images[arc.image];
    if (picture) make("img", { src: picture.uri, alt: "" }, card);
    const table = make("dl", {}, card);
    const row = (name, value) => {
      make("dt", {}, table, name);
      make("dd", {}, table, value);
    };
    make("strong", {}, table, arc.name);
    row("from, to", `${names.get(edge.source)} → ${names.get(edge.target)}`);
    row("score", arc.score);
    if (arc.p !== undefined) row("posterior", percent(arc.p));
    if (arc.push !== undefined) row("step moves it", arc.push.toPrecision(3));
    if (edge.arcs.length > 1 && state.data.posteriors) {
      const others = [...edge.arcs].sort((a, b) => b.p - a.p).slice(0, 5);
      row("beside it", others.map((other) => `${other.name} ${percent(other.p)}`).join("  "));
    }
    card.hidden = false;
    place(event, edge);
    voice.textContent = told(edge, arc, names);
    options.onHover?.(arc, edge);
  }

  function place(event, edge) {
    const box = frame.getBoundingClientRect();
    const x = event?.clientX || box.left + edge.x * state.scale + state.x;
    const y = event?.clientY || box.top + edge.y * state.scale + state.y;
    const wide = card.offsetWidth, high = card.offsetHeight;
    const top = y + 16 + high > innerHeight ? y - high - 14 : y + 16;
    card.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - wide - 4))}px`;
    card.style.top = `${Math.max(4, Math.min(top, innerHeight - high - 4))}px`;
  }

  function unlook() {
    state.at = null;
    root.classList.remove("looking");
    card.hidden = true;
    for (const other of edges) other.g.classList.remove("at");
    options.onHover?.(null);
  }

  /** The edges that lie on a path with this one, of those that are shown. */
  function through(edge) {
    const on = new Set([edge]);
    for (const [from, next] of [["source", entering], ["target", leaving]]) {
      const reached = new Set([edge[from]]), work = [edge[from]];
      while (work.length) {
        for (const other of next.get(work.pop())) {
          on.add(other);
          if (!reached.has(other[from])) {
            reached.add(other[from]);
            work.push(other[from]);
          }
        }
      }
    }
    return on;
  }

  function choose(found, arc, event) {
    if (moved) return;
    const { selected } = state;
    const keep = event?.shiftKey, was = selected.has(arc.id);
    if (!keep) selected.clear();
    if (was) selected.delete(arc.id);
    else selected.add(arc.id);
    mark([...selected], "selected");
    options.onSelect?.([...selected]);
    options.onArc?.(arc, found.edge, event);
  }

  /** Give the arcs of these numbers a class of their own, and no others. */
  function mark(ids, name = "marked") {
    const wanted = new Set(ids);
    for (const { edge, g, rows } of edges) {
      g.classList.toggle(name, edge.arcs.some((arc) => wanted.has(arc.id)));
      for (const [row, arc] of rows) row.classList.toggle(name, wanted.has(arc.id));
    }
  }

  /** Show these states and the arcs between them as usual, all others faint. */
  function reveal(states) {
    const there = states && new Set(states);
    for (const [id, g] of circles) g.classList.toggle("later", Boolean(there) && !there.has(id));
    for (const { edge, g } of edges) {
      g.classList.toggle("later",
        Boolean(there) && !(there.has(edge.source) && there.has(edge.target)));
    }
  }

  function markStates(ids, name = "marked") {
    const wanted = new Set(ids);
    for (const [id, g] of circles) g.classList.toggle(name, wanted.has(id));
  }

  // Zoom and pan

  // While it moves, the drawing is a picture that the compositor shifts and stretches: nothing is
  // painted anew before it rests.
  let resting;
  function move() {
    svg.style.transform = `translate(${state.x - EDGE * state.scale}px, `
      + `${state.y - EDGE * state.scale}px) scale(${state.scale})`;
    clearTimeout(resting);
    if (root.classList.contains("moving")) resting = setTimeout(rest, 300);
  }

  function rest() {
    if (dragging) resting = setTimeout(rest, 300);
    else root.classList.remove("moving");
  }

  function fit() {
    const [wide, high] = state.data.size.map((side) => side + 2 * EDGE);
    const room = frame.clientWidth || 600;
    const most = options.height ?? 460;
    const least = room < 480 ? 0.8 : LEAST; // what does not fit is reached by dragging
    const scale = Math.min(USUAL, Math.max(least, Math.min(room / wide, most / high)));
    const tall = Math.min(most, Math.max(120, high * scale));
    frame.style.height = `${tall}px`;
    state.scale = scale;
    state.x = Math.max(EDGE * scale, (room - wide * scale) / 2 + EDGE * scale);
    state.y = (tall - high * scale) / 2 + EDGE * scale;
    move();
  }

  function zoom(factor, x = frame.clientWidth / 2, y = frame.clientHeight / 2) {
    const next = Math.min(MOST, Math.max(0.08, state.scale * factor));
    state.x = x - (x - state.x) * (next / state.scale);
    state.y = y - (y - state.y) * (next / state.scale);
    state.scale = next;
    root.classList.add("moving");
    move();
  }

  const fingers = new Map();
  let dragging = false, moved = false, spread = 0;
  frame.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    moved = false;
    spread = 0;
  });
  frame.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const now = [event.clientX, event.clientY];
    const [dx, dy] = [now[0] - last[0], now[1] - last[1]];
    if (!moved && Math.hypot(dx, dy) < 4) return;
    if (!moved) {
      frame.setPointerCapture(event.pointerId);
      moved = dragging = true;
      root.classList.add("moving");
      card.hidden = true;
    }
    fingers.set(event.pointerId, now);
    if (fingers.size === 2) {
      const [[ax, ay], [bx, by]] = [...fingers.values()];
      const box = frame.getBoundingClientRect(), wide = Math.hypot(ax - bx, ay - by);
      if (spread) zoom(wide / spread, (ax + bx) / 2 - box.left, (ay + by) / 2 - box.top);
      spread = wide;
    } else {
      state.x += dx;
      state.y += dy;
      move();
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    frame.addEventListener(name, (event) => {
      fingers.delete(event.pointerId);
      dragging = false;
      setTimeout(() => { moved = false; });
    });
  }
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== svg) return; // the page scrolls
    event.preventDefault();
    const box = frame.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY * 0.002), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });

  // Keys: along the arcs, between those of one state, and zoom

  function step(key) {
    const by = (a, b) => (b.edge.arcs.some((arc) => arc.best) - a.edge.arcs.some((arc) => arc.best))
      || a.edge.y - b.edge.y;
    if (!state.at) {
      const starts = new Set(state.data.states.filter((s) => s.start !== undefined)
        .map((s) => s.id));
      return edges.filter(({ edge }) => starts.has(edge.source)).sort(by)[0] ?? edges[0];
    }
    const { edge } = state.at.found;
    if (key === "ArrowRight") return edges.filter((e) => e.edge.source === edge.target).sort(by)[0];
    if (key === "ArrowLeft") return edges.filter((e) => e.edge.target === edge.source).sort(by)[0];
    const beside = edges.filter((e) => e.edge.source === edge.source)
      .sort((a, b) => a.edge.y - b.edge.y);
    const at = beside.indexOf(state.at.found) + (key === "ArrowDown" ? 1 : -1);
    return beside[(at + beside.length) % beside.length];
  }

  svg.addEventListener("keydown", (event) => {
    const { key } = event;
    if (key.startsWith("Arrow")) {
      const next = step(key);
      if (next) {
        look(next, next.edge.arcs[0]);
        follow(next.edge);
      }
    } else if ((key === "Enter" || key === " ") && state.at) {
      choose(state.at.found, state.at.arc, event);
    } else if (key === "+" || key === "=") zoom(1.3);
    else if (key === "-") zoom(1 / 1.3);
    else if (key === "0") fit();
    else if (key === "Escape") unlook();
    else return;
    event.preventDefault();
  });

  function follow(edge) {
    const x = edge.x * state.scale + state.x, y = edge.y * state.scale + state.y;
    const [wide, high] = [frame.clientWidth, frame.clientHeight];
    if (x < 40 || x > wide - 40) state.x += wide / 2 - x;
    if (y < 30 || y > high - 30) state.y += high / 2 - y;
    move();
    place(null, edge);
  }

  function update(next, keep = false) {
    const same = keep && String(next.size) === String(state.data.size);
    state.data = next;
    build();
    if (same) move();
    else fit();
  }

  const watch = new ResizeObserver(() => fit());
  build();
  fit();
  watch.observe(frame);

  return {
    root, svg, update, mark, markStates, reveal, fit,
    get data() { return state.data; },
    select(ids) {
      state.selected = new Set(ids);
      mark(ids, "selected");
    },
    picture: () => picture(svg, state.data.size),
    remove() {
      watch.disconnect();
      root.remove();
    },
  };
}

/** A triangle at the end of a line. */
function arrow(path) {
  const points = path.slice(1).split(/[C ]/).map(Number);
  const [x, y] = points.slice(-2);
  let [fx, fy] = points.slice(-4, -2);
  if (Math.hypot(x - fx, y - fy) < 0.5) [fx, fy] = points.slice(-6, -4);
  const long = Math.hypot(x - fx, y - fy) || 1;
  const [ux, uy] = [(x - fx) / long, (y - fy) / long];
  const [bx, by] = [x - 8 * ux, y - 8 * uy];
  return `M${x} ${y}L${bx - 4 * uy} ${by + 4 * ux}L${bx + 4 * uy} ${by - 4 * ux}Z`;
}

const LOOK = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-family",
  "font-size", "font-weight", "text-anchor"];

/** The drawing as an SVG file that looks the same anywhere. */
function picture(svg, [wide, high]) {
  const copy = svg.cloneNode(true);
  const originals = [...svg.querySelectorAll("*")], copies = [...copy.querySelectorAll("*")];
  originals.forEach((element, at) => {
    const style = getComputedStyle(element);
    copies[at].removeAttribute("style");
    for (const name of LOOK) copies[at].setAttribute(name, style.getPropertyValue(name));
  });
  copy.querySelectorAll(".hit").forEach((element) => element.remove());
  for (const name of [...copy.getAttributeNames()]) copy.removeAttribute(name);
  copy.setAttribute("xmlns", SVG);
  const [broad, tall] = [wide + 2 * EDGE, high + 2 * EDGE];
  copy.setAttribute("viewBox", `${-EDGE} ${-EDGE} ${broad} ${tall}`);
  copy.setAttribute("width", broad);
  copy.setAttribute("height", tall);
  const paper = make("rect", { x: -EDGE, y: -EDGE, width: broad, height: tall,
    fill: getComputedStyle(svg).getPropertyValue("--paper") || "white" });
  copy.prepend(paper);
  return new XMLSerializer().serializeToString(copy);
}

/** The slider of inverse temperatures: 0 is free, its end is Viterbi. */
export const BETAS = [0, 0.1, 0.2, 0.35, 0.5, 0.7, 1, 1.5, 2, 3, 5, 8, 15, Infinity];

export function betaName(beta) {
  return beta === Infinity ? "∞ (Viterbi)" : beta === 0 ? "0 (all paths alike)" : String(beta);
}

/** Draw what a self-contained page carries. */
function fillPage() {
  for (const here of document.querySelectorAll(".gtnet-view-here")) {
    const place = here.querySelector("div:empty");
    const told = here.querySelector('script[type="application/json"]');
    if (place && told) draw(place, JSON.parse(told.textContent));
  }
}

/** The widget of notebooks, as anywidget calls it. */
function render({ model, el }) {
  const view = draw(el, model.get("view"), {
    label: model.get("view").title ?? "graph",
    onSelect(ids) {
      model.set("selected_arcs", ids);
      model.save_changes();
    },
    onState(found) {
      if (!found.hidden) return;
      model.set("opened_states", [...model.get("opened_states"), found.id]);
      model.save_changes();
    },
  });
  if (model.get("slider")) {
    const line = make("label", { class: "gtnet-beta" }, null, "beta ");
    const slider = make("input", { type: "range", min: 0, max: BETAS.length - 1, step: 1 }, line);
    const value = make("output", {}, line);
    const show = () => {
      const beta = model.get("beta") === null ? Infinity : model.get("beta");
      slider.value = BETAS.findIndex((other) => other >= beta);
      value.textContent = betaName(beta);
    };
    slider.addEventListener("input", () => {
      const beta = BETAS[slider.value];
      value.textContent = betaName(beta);
      model.set("beta", beta === Infinity ? null : beta);
      model.save_changes();
    });
    show();
    model.on("change:beta", show);
    el.prepend(line);
  }
  const change = () => view.update(model.get("view"), true);
  const choose = () => view.select(model.get("selected_arcs"));
  choose();
  model.on("change:view", change);
  model.on("change:selected_arcs", choose);
  return () => {
    model.off("change:view", change);
    model.off("change:selected_arcs", choose);
    view.remove();
  };
}

export default { render };

// Any graph: typed or loaded, before and after an operation.

import { $, ask, keepAsking, make, pick, save, showView } from "./common.js";

const FORMS = {
  openfst: "A line is an arc, “source target label [cost]” or “source target in out [cost]”, or a "
    + "final state, “state [cost]”. Numbers on the pictures are costs; <eps> or 0 reads nothing.",
  k2: "A line is an arc, “source target label score”; label −1 leads to the final state, whose "
    + "number is the last line.",
  gtn: "The first line holds start states, the second accept states, then arcs: “source target "
    + "in [out] [weight]”; −1 is epsilon.",
};

const EXAMPLES = [
  { name: "a composition", operation: "compose",
    a: "0 1 a 0.5\n0 1 b 1.0\n1 2 b 0.3\n1 2 c 0.9\n2 0.0\n",
    b: "0 1 a x 0.2\n0 1 b y 0.1\n1 1 b y 0.4\n1 2 c z 0.3\n1 0.5\n2 0.0\n" },
  { name: "words to a tree", operation: "determinize",
    a: "0 1 c\n1 2 a\n2 3 t\n3\n0 4 c\n4 5 a\n5 6 p\n6\n0 7 c\n7 8 u\n8 9 t\n9\n", b: "" },
  { name: "a tree made small", operation: "minimize",
    a: "0 1 w\n0 2 l\n1 3 a\n3 4 l\n4 5 k\n5\n2 6 a\n6 7 l\n7 8 k\n8\n5 9 s\n9\n8 10 s\n10\n", b: "" },
  { name: "epsilons removed", operation: "remove_epsilon",
    a: "0 1 a 0.5\n1 2 <eps> 0.7\n2 3 b 0.1\n1 3 c 2.0\n2 0 <eps> 1.2\n3 0.0\n", b: "" },
  { name: "weights pushed", operation: "push",
    a: "0 1 a 0.5\n0 2 a 2.0\n1 3 b 3.0\n2 3 c 0.1\n2 3 d 0.2\n3 1.0\n", b: "" },
];

export function startGraphs(about) {
  const views = {};
  let last = null, opened = {}, begun = false;
  const { one, two } = about.operations;
  make("option", { value: "draw" }, $("operation"), "draw");
  for (const name of [...two, ...one]) make("option", { value: name }, $("operation"), name);
  EXAMPLES.forEach(({ name }, at) => make("option", { value: at }, $("example"), name));
  make("option", { value: "" }, $("example"), "your own");

  function take({ a, b, operation }) {
    $("a").value = a;
    $("b").value = b;
    $("form").value = "openfst";
    $("operation").value = operation;
    arrange();
    afresh();
  }

  function arrange() {
    const name = $("operation").value, pair = two.includes(name);
    for (const part of ["b", "b-label", "part-b"]) $(part).hidden = !pair;
    $("part-result").hidden = name === "draw";
    $("semiring-line").hidden = !about.weighed.includes(name);
    $("result-name").textContent = pair ? `${name}(A, B)` : `${name}(A)`;
    $("form-help").textContent = FORMS[$("form").value];
  }

  const changed = keepAsking(
    () => ask("graphs", {
      a: $("a").value, b: $("b").value, form: $("form").value, operation: $("operation").value,
      semiring: $("semiring").value, opened,
    }),
    (found) => {
      if (!found) return;
      last = found;
      for (const name of ["a", "b", "result"]) show(name, found[name]);
      $("python").textContent = found.python;
      arrangeSteps();
      document.body.dataset.graphs = String(Number(document.body.dataset.graphs ?? 0) + 1);
    },
  );

  function afresh() {
    opened = {};
    changed();
  }

  function show(name, data) {
    showView(views, name, `view-${name}`, data, {
      label: name === "result" ? "the result" : `graph ${name.toUpperCase()}`,
      height: name === "result" ? 380 : 230,
      onHover: (arc) => trace(name, arc),
      onState(found) {
        if (!found.hidden) return;
        opened[name] = [...(opened[name] ?? []), found.id];
        changed();
      },
    });
  }

  /** Marks, in the other graphs, the arcs that one came from or went to. */
  function trace(name, arc) {
    const maps = last?.arcs ?? [];
    if (name === "result") {
      ["a", "b"].forEach((key, at) => {
        const from = arc && maps[at] ? maps[at][arc.id] : undefined;
        views[key]?.mark(from >= 0 ? [from] : []);
      });
    } else {
      const map = maps[name === "a" ? 0 : 1] ?? {};
      const to = arc ? Object.keys(map).filter((id) => map[id] === arc.id).map(Number) : [];
      views.result?.mark(to);
    }
  }

  // Composition, state by state

  function arrangeSteps() {
    const pair = $("operation").value === "compose" && last?.states?.length === 2;
    const count = pair ? last.result.states.length : 0;
    $("steps-line").hidden = count < 2;
    $("pair").textContent = "";
    $("steps").max = count;
    $("steps").value = count;
    showStep();
  }

  function showStep() {
    if (!last?.result || $("steps-line").hidden) return;
    const count = Number($("steps").value);
    const shown = last.result.states.slice(0, count);
    const whole = count >= last.result.states.length;
    $("steps-value").textContent = `${count} of ${last.result.states.length}`;
    views.result?.reveal(whole ? null : shown.map((s) => s.id));
    const newest = shown.at(-1);
    views.result?.markStates(whole || !newest ? [] : [newest.id]);
    ["a", "b"].forEach((key, at) => {
      views[key]?.markStates(whole || !newest ? [] : [last.states[at][newest.id]]);
    });
    $("pair").textContent = whole || !newest ? ""
      : `state ${count} of the product: state ${last.states[0][newest.id]} of A with state `
        + `${last.states[1][newest.id]} of B`;
  }

  async function load(key, file) {
    const found = await ask("graph", file);
    if (!found) return;
    $(key).value = found.text;
    if (found.form !== $("form").value && $("form").value !== "gtn") $("form").value = found.form;
    $("example").value = "";
    arrange();
    afresh();
  }

  for (const key of ["a", "b"]) {
    let later;
    $(key).addEventListener("input", () => {
      $("example").value = "";
      clearTimeout(later);
      later = setTimeout(afresh, 350);
    });
    $(`open-${key}`).addEventListener("click", (event) => {
      event.preventDefault();
      pick($("graph-file"), (file) => load(key, file));
    });
  }
  document.addEventListener("drop", (event) => {
    const file = event.dataTransfer.files[0];
    if (file && !$("graphs").hidden) load(event.target.id === "b" ? "b" : "a", file);
  });
  for (const name of ["operation", "form", "semiring"]) {
    $(name).addEventListener("change", () => {
      arrange();
      afresh();
    });
  }
  $("example").addEventListener("change", () => {
    if ($("example").value !== "") take(EXAMPLES[$("example").value]);
  });
  $("steps").addEventListener("input", showStep);

  // Exports

  const name = () => ($("operation").value === "draw" ? "graph" : $("operation").value);
  const main = () => views.result ?? views.a;
  $("save-svg").addEventListener("click", () =>
    main() && save(`${name()}.svg`, main().picture(), "image/svg+xml"));
  $("save-dot").addEventListener("click", () =>
    last && save(`${name()}.dot`, last.dot, "text/vnd.graphviz"));
  $("save-python").addEventListener("click", () =>
    last && save(`${name()}.py`, last.python, "text/x-python"));
  $("save-png").addEventListener("click", async () => {
    if (!main()) return;
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(main().picture())}`;
    await image.decode();
    const canvas = make("canvas", { width: 2 * image.width, height: 2 * image.height });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => save(`${name()}.png`, blob));
  });

  arrange();
  addEventListener("compose", ({ detail }) => {
    begun = true;
    $("tab-graphs").click();
    take({ ...detail, operation: "compose" });
    $("example").value = "";
  });
  addEventListener("turned", ({ detail }) => {
    if (detail !== "graphs" || begun) return;
    begun = true;
    take(EXAMPLES[0]);
  });
}

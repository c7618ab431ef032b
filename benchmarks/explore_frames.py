"""`python -m benchmarks.explore_frames`: frames a second of a graph of 450 arcs that is touched.

A headless Chromium, which renders in software, drags, zooms and hovers a page of
`gtnet.draw_view`. Needs chromium, chromedriver and the extra `test`. A browser shows at most 60.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import torch
from selenium import webdriver

import gtnet

LAYERS, WIDTH, FRAMES = 25, 4, 60
MOVES = {
    "nothing": "",
    "drag": "send('pointermove', 400 + 200 * Math.sin(i / 10), 200 + 60 * Math.cos(i / 10));",
    "zoom": "frame.dispatchEvent(new WheelEvent('wheel', { deltaY: 30 * Math.cos(i / 8),"
    " clientX: 600, clientY: 200, ctrlKey: true, bubbles: true, cancelable: true }));",
    "hover": "edges[(7 * i) % edges.length].dispatchEvent(new PointerEvent('pointerenter',"
    " { clientX: 300 + i % 200, clientY: 200, pointerId: 1 }));",
}
SCRIPT = """
const [count, drags, done] = arguments;
const frame = document.querySelector('.gtnet-view .frame');
const edges = [...document.querySelectorAll('.gtnet-view .edge')];
frame.setPointerCapture = () => {};
const send = (name, clientX, clientY) => frame.dispatchEvent(new PointerEvent(name,
  { clientX, clientY, pointerId: 1, bubbles: true }));
if (drags) send('pointerdown', 400, 200);
let i = 0, began;
requestAnimationFrame(function next(now) {
  began ??= now;
  MOVE
  if (i++ < count) return requestAnimationFrame(next);
  if (drags) send('pointerup', 400, 200);
  done(1000 * count / (now - began));
});
"""


def graph() -> gtnet.Graph:
    """Layers of states, five arcs from each state to the next layer."""
    torch.manual_seed(0)
    random.seed(0)
    states = [layer * WIDTH + at for layer in range(LAYERS) for at in range(WIDTH)]
    ends = [
        ((s // WIDTH + 1) * WIDTH + random.randrange(WIDTH), s) for s in states for _ in "12345"
    ]
    target, source = zip(*ends)
    labels = [random.randrange(26) for _ in ends]
    return gtnet.connect(
        gtnet.Graph(
            source,
            target,
            labels,
            weights=torch.randn(len(ends)),
            start=0,
            accept=LAYERS * WIDTH,
            num_states=(LAYERS + 1) * WIDTH,
        )
    )


def main() -> None:
    """Touch the graph and print how often it was shown."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    g = graph()
    view = gtnet.draw_view(g, isymbols="abcdefghijklmnopqrstuvwxyz", max_states=1000, max_arcs=1000)
    with tempfile.TemporaryDirectory() as folder:
        browser = webdriver.Chrome(options=options, service=service)
        try:
            browser.get(view.save(Path(folder, "view.html")).as_uri())
            count = browser.execute_script("return document.querySelectorAll('svg *').length")
            print(f"{g.num_arcs} arcs, {len(view.data['edges'])} curves, {count} elements")
            for name, move in MOVES.items():
                script = SCRIPT.replace("MOVE", move)
                rate = browser.execute_async_script(script, FRAMES, name == "drag")
                print(f"{name:8} {rate:5.1f} frames a second")
        finally:
            browser.quit()


if __name__ == "__main__":
    main()

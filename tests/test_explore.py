"""`gtnet explore`: what it answers, who may ask, and its page in a real browser."""

import base64
import http.client
import io
import itertools
import json
import math
import re
import shutil
import socket
import threading
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gtnet
from gtnet.reader import (
    Alphabet,
    CheckReader,
    Combined,
    Recognizer,
    SlidingFrontEnd,
    lexicon,
    regular_expression,
)

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from gtnet.explore import application, graphs, inputs, learning, models
from gtnet.explore.looking import look, see
from gtnet.explore.models import Model
from gtnet.explore.operands import operands
from gtnet.explore.questions import Question
from gtnet.explore.server import quiet
from gtnet.explore.together import look_together

TOKEN = "a-token"
EVIL = "<img src=x onerror=document.title='broken'>"


def three_bars() -> np.ndarray:
    image = np.full((40, 90), 255, np.uint8)
    for left in (12, 42, 72):
        image[6:34, left : left + 4] = 0
    return image


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def uri(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


class Bars:
    """A data set of one image."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return three_bars(), "111.00"


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    return CheckReader().eval()


def asked(reader, **more) -> Question:
    return Question.of({"image": uri(three_bars()), **more}, reader)


# Languages


@pytest.mark.parametrize(
    "text",
    ["0*1", "(0|1)+", "[01]{2,3}", "a?(0|1a){1,2}", "[^0]-", r"\d{2,}", "", "a|", "[0-1]{0}a", "."],
)
def test_a_regular_expression_accepts_what_it_matches_once(text) -> None:
    alphabet = Alphabet("01a-")
    graph = regular_expression(text, alphabet)
    strings = [s for n in range(4) for s in map("".join, itertools.product("01a-", repeat=n))]
    batch = gtnet.linear([alphabet.labels_of(s) for s in strings])
    scores = gtnet.forward_score(gtnet.compose(graph, batch)).tolist()
    want = [0.0 if re.fullmatch(text, s) else -math.inf for s in strings]
    assert scores == pytest.approx(want)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("(", "missing )"),
        ("a)", "unbalanced"),
        ("*", "nothing before"),
        ("[0", "missing ]"),
        ("x", "'x' is not one of 01a"),
        ("a{3,1}", "rise"),
        ("(0{300}){900}", "arcs"),
        ("0{", "{2}"),
    ],
)
def test_a_wrong_regular_expression_is_pointed_at(text, told) -> None:
    with pytest.raises(ValueError, match=f"regular_expression.*{re.escape(told)}"):
        regular_expression(text, Alphabet("01a"))


# What is laid out


def test_a_view_holds_posteriors_the_best_path_and_what_is_hidden() -> None:
    weights = torch.tensor([0.5, -1.0, 0.2, 1.0], dtype=torch.float64)
    g = gtnet.Graph([0, 0, 1, 1], [1, 1, 2, 2], [0, 1, 2, 3], weights=weights, accept=2)
    for beta in (0.0, 0.3, 1.0, math.inf):
        data = gtnet.draw_view(g, beta=beta, isymbols=["a", EVIL, "c", "d"]).data
        arcs = {arc["id"]: arc for edge in data["edges"] for arc in edge["arcs"]}
        scaled = weights * (1e6 if beta == math.inf else beta)
        want = torch.cat([scaled[:2].softmax(0), scaled[2:].softmax(0)])
        assert [arcs[i]["p"] for i in range(4)] == pytest.approx(want.tolist(), abs=1e-5)
        assert [i for i in arcs if arcs[i].get("best")] == [0, 3]
        assert arcs[1]["name"] == EVIL
        assert EVIL not in gtnet.GraphView(data).html
    data = gtnet.draw_view(g, min_posterior=0.4).data
    assert data["shown"] == [3, 2] and data["all"] == [3, 4] and "2 of 4 arcs" in data["note"]
    assert [state["hidden"] for state in data["states"]] == [1, 1, 0]
    data = gtnet.draw_view(g, min_posterior=0.4, opened=[0]).data
    assert data["shown"] == [3, 3] and [s["hidden"] for s in data["states"]] == [0, 1, 0]
    push = gtnet.draw_view(g, gradient=torch.tensor([1.0, -2.0, 0.0, 0.0])).data
    few = gtnet.draw_view(g, gradient=torch.tensor([1.0, -2.0, 0, 0]), min_posterior=0.01).data
    assert "those that the loss changes most" in few["note"]
    assert push["most"] == 2 and push["edges"][0]["arcs"][0]["push"] == -1


def test_views_of_odd_graphs() -> None:
    empty = gtnet.Graph([], [], [], weights=torch.zeros(0), start=[], accept=[])
    assert gtnet.draw_view(empty).data["note"] == "no states"
    loop = gtnet.Graph([0, 0], [0, 1], [0, 1], weights=[1.0, 0.0], accept=1)
    data = gtnet.draw_view(loop).data
    assert "no finite sum" in data["note"] and not data["posteriors"]
    batch = gtnet.stack([loop, loop])
    with pytest.raises(ValueError, match="draw_view: the batch has 2 graphs"):
        gtnet.draw_view(batch)
    with pytest.raises(ValueError, match=r"gradient has shape \[3\], expected \[2\]"):
        gtnet.draw_view(loop, gradient=torch.zeros(3))
    with pytest.raises(ValueError, match="beta must be at least 0"):
        gtnet.draw_view(loop, beta=-1.0)


def test_a_widget_follows_beta_and_names_what_is_selected() -> None:
    pytest.importorskip("anywidget")
    lattice = gtnet.Emissions(torch.randn(1, 3, 4)) @ gtnet.trie([[0, 1, 2], [0, 3, 2]])
    widget = gtnet.draw.widget(lattice, isymbols="abcd")
    shares = [edge["arcs"][0]["p"] for edge in widget.view["edges"]]
    widget.beta = math.inf
    cold = [edge["arcs"][0]["p"] for edge in widget.view["edges"]]
    assert widget.beta is None and set(cold) == {0.0, 1.0} and set(shares) != set(cold)
    widget.selected_arcs = [1]
    with pytest.raises(Exception, match="there is no arc 99"):
        widget.selected_arcs = [99]
    with pytest.raises(Exception, match="beta must be at least 0"):
        widget.beta = -1.0
    shown = widget._repr_mimebundle_()
    bundle = shown[0] if isinstance(shown, tuple) else shown
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"] == f"GraphWidget({len(widget.view['states'])} states, 5 arcs)"
    truth = gtnet.linear([0])
    pushed = gtnet.draw_widget(lattice, loss=lambda g: gtnet.losses.nll(g, truth))
    assert pushed.view["gradient"] and not pushed.slider
    shown = pushed._repr_mimebundle_()
    bundle = shown[0] if isinstance(shown, tuple) else shown
    assert "the loss pushes this score up" in bundle["image/svg+xml"]


# What a reader makes of an image


def test_constraints_leave_out_what_they_forbid_and_nothing_else(reader) -> None:
    with torch.no_grad():
        free = see(reader, asked(reader))
        seen, scores = free.seen, free.emissions.scores.clone()
        source, target = torch.tensor(seen.source), torch.tensor(seen.target)
        held = see(reader, asked(reader, forbidden=[1], said={"2": "7"}))
        gone = (source == 1) | (target == 1)
        gone |= (source < target[2]) & (target > source[2]) & (torch.arange(len(seen)) != 2)
        scores[gone] = -math.inf
        scores[2, torch.arange(scores.shape[1]) != 7] = -math.inf
        want = gtnet.Emissions(scores, graph=free.emissions.segmentation) @ reader.grammar
        torch.testing.assert_close(gtnet.forward_score(held.lattice), gtnet.forward_score(want))
    for wrong in ({"forbidden": [0]}, {"said": {"999": "7"}}, {"said": {"0": "x"}}, {"beta": -1}):
        with pytest.raises(ValueError, match=r"forbidden|no segment|not one of|beta"):
            see(reader, asked(reader, **wrong))


def test_looking_agrees_with_reading(reader) -> None:
    found = look(reader, asked(reader), 0.5)
    (answer,) = reader.read([three_bars()], best=6)
    assert found["answers"][0]["text"] == answer.amount
    assert found["answers"][0]["confidence"] == pytest.approx(answer.confidence, abs=1e-6)
    assert found["answers"][0]["accepted"] == (answer.confidence >= 0.5)
    cold = look(reader, asked(reader, beta=None), 0.5)
    assert [one["confidence"] for one in cold["answers"][:2]] == [1.0, 0.0]
    assert cold["answers"][0]["accepted"] is None
    words = look(reader, asked(reader, language="words", text="7.00 8.00"), None)
    assert {one["text"] for one in words["answers"]} <= {"7.00", "8.00"}
    flat = look(reader, asked(reader, language="words", text="7 8", beta=0), None)
    assert flat["answers"][0]["confidence"] == pytest.approx(0.5)
    blank = Question.of({"image": uri(np.full((40, 90), 255, np.uint8))}, reader)
    assert look(reader, blank, None)["empty"]
    json.dumps([found, cold, words, flat])


def test_gradients_and_steps_are_those_of_the_loss(reader) -> None:
    question = asked(reader)
    told = learning.learn(reader, question, "111.00", ["nll", "perceptron"])
    (seen,) = reader.observe([three_bars()])
    with torch.no_grad():
        want = float(reader.loss([seen], ["111.00"]))
    assert told["losses"][0]["value"] == pytest.approx(want, abs=2e-3)
    parts = {part["name"]: float(part["value"].replace("−", "-")) for part in told["parts"]}
    assert parts["F true"] - parts["F"] == pytest.approx(want, abs=2e-3)
    learners = learning.Learners(reader)
    stepped = learners.step("one", question, {"truth": "111.00", "steps": 3, "loss": "nll"})
    assert stepped["values"][0] == pytest.approx(want, abs=2e-3)
    assert stepped["values"][-1] < stepped["values"][0] - 0.1
    assert learners.of("other") is reader and learners.of("one") is not reader
    learners.forget("one")
    assert learners.of("one") is reader
    with pytest.raises(ValueError, match="outside the grammar"):
        learning.learn(reader, question, "12", ["nll"])


# Several readers

TWO = ["1", "7", "11"]


@pytest.fixture(scope="module")
def pair():
    """A reader of segments and a sliding one, of the same few words."""
    torch.manual_seed(0)
    alphabet = CheckReader().alphabet
    words = lexicon(TWO, alphabet)
    segments = Recognizer(alphabet, words, CheckReader().front_end, candidates=3)
    sliding = Recognizer(alphabet, words, SlidingFrontEnd(), candidates=3)
    return [segments.eval(), sliding.eval()]


def test_two_readers_stand_side_by_side_and_answer_together(pair) -> None:
    request = {"image": uri(three_bars()), "said": {"0": "1"}}
    found = look_together(pair, request, [0.5, None])
    (other,) = found["beside"]
    assert found["segments"] and not other["segments"] and other["recognition"] is None
    assert found["interpretation"]["title"] == other["interpretation"]["title"]
    own = [{a["text"]: a["confidence"] for a in one["answers"]} for one in (found, other)]
    assert set(own[0]) <= set(TWO) and set(own[1]) <= set(TWO)
    told = {one["text"]: one["confidence"] for one in found["together"]}
    for one, two in itertools.combinations(set(own[0]) & set(own[1]), 2):
        ratios = [math.log(max(s[one], 1e-9) / max(s[two], 1e-9)) for s in own]
        if min(min(s[one], s[two]) for s in own) > 1e-3:
            assert math.log(told[one] / told[two]) == pytest.approx(sum(ratios) / 2, abs=1e-2)
    assert sum(told.values()) <= 1 + 1e-6 and set(told) >= set(own[0])
    none = look_together(pair, {**request, "said": {"0": "0"}}, [None, None])
    assert not none["answers"] and none["together"][0]["text"] in TWO
    assert look_together(pair, {**request, "beta": None}, [None, None])["together"] == []
    json.dumps(found)
    with pytest.raises(ValueError, match=r"Combined.answer: shares of \[1\] texts, 2 readers"):
        Combined(pair).answer(["1"], [[0.0]])


def test_readers_side_by_side_have_the_same_characters(pair) -> None:
    first, second = (Model(one, name, None) for one, name in zip(pair, ("a", "b")))
    assert [m.name for m in models.side_by_side([second, first])] == ["a", "b"]
    other = Model(Recognizer("01", None, SlidingFrontEnd()), "c", None)
    with pytest.raises(ValueError, match="c 01: side by side they need the same characters"):
        models.side_by_side([first, other])
    with pytest.raises(ValueError, match="at least one"):
        models.side_by_side([])


def test_a_drawing_is_composed_step_by_step(reader, pair) -> None:
    told = operands(pair[0], asked(pair[0]))
    made = graphs.work({**told, "operation": "compose"})
    lattice = see(pair[0], asked(pair[0])).lattice
    (a, b) = graphs.written([told["a"], told["b"]], "openfst")
    product = gtnet.viterbi_score(gtnet.compose(a.graph, b.graph))
    torch.testing.assert_close(product, gtnet.viterbi_score(lattice), atol=1e-3, rtol=1e-4)
    assert a.graph.num_arcs <= 60 and len(made["states"]) == 2
    digits = Recognizer("01", ["1", "10"], SlidingFrontEnd()).eval()
    assert "<eps>" in operands(digits, asked(digits))["b"]
    with pytest.raises(ValueError, match="nothing to compose"):
        operands(reader, Question.of({"image": uri(np.full((40, 90), 255, np.uint8))}, reader))


# Any graph


def test_arcs_of_results_lead_to_where_they_came_from() -> None:
    a, b = "0 1 a 0.5\n1 2 b 0.25\n2\n", "0 1 a x 1\n1 2 b y 2\n2 0.5\n"
    found = graphs.work({"operation": "compose", "a": a, "b": b})
    (first, second) = (edge["arcs"][0] for edge in found["result"]["edges"])
    assert [first["name"], second["name"]] == ["a:x", "b:y"]
    assert [first["value"], second["value"]] == ["1.50", "2.25"]
    assert [[m[i] for i in (0, 1)] for m in found["arcs"]] == [[0, 1], [0, 1]]
    assert found["result"]["states"][0]["name"] == "0,0" and "compose(a, b)" in found["python"]
    names: dict = {}
    exec(found["python"].partition("gtnet.draw(")[0], names)
    assert names["result"].num_arcs == 2
    for name in graphs.ONE:
        made = graphs.work({"operation": name, "a": a})
        assert made["result"]["shown"][1] >= 2, name
    for form, text in (("k2", "0 1 3 0.5\n1 2 -1 0\n2\n"), ("gtn", "0\n1\n0 1 2 2 0.5\n")):
        assert graphs.work({"a": text, "form": form})["a"]["shown"] == [2, 1]


@pytest.mark.parametrize(
    ("text", "told"),
    [("0 1 a b c d\n1\n", ":1:"), ("0 1 a\n1\nx 2\n", ":3:"), ("0 1 a\n", "1")],
)
def test_a_graph_with_a_fault_names_its_line(text, told) -> None:
    with pytest.raises(ValueError, match=told):
        graphs.work({"a": text})


def test_saved_graphs_become_text(tmp_path) -> None:
    g = gtnet.Graph([0, 1], [1, 2], [0, 1], weights=[0.5, 1.0], accept=2)
    gtnet.save(g, tmp_path / "g.npz")
    gtnet.interop.openfst.write_binary(g, tmp_path / "g.fst")
    for name in ("g.npz", "g.fst"):
        text, form = graphs.text_of((tmp_path / name).read_bytes(), name)
        assert form == "openfst" and gtnet.interop.openfst.from_text(text).equal(g)
    for data in (b"\xff\xfe\x00junk", b"PK\x03\x04junk", b"a\0b"):
        with pytest.raises(ValueError, match="this file"):
            graphs.text_of(data, "this file")


def test_a_large_graph_is_cut_to_what_can_be_read() -> None:
    lines = [f"{s} {s + 1} {1 + k % 9} {0.01 * k}" for s in range(200) for k in range(500)]
    found = graphs.work({"a": "\n".join([*lines, "200"]) + "\n"})
    assert found["a"]["all"][1] == 100_000 and found["a"]["shown"][1] <= 100
    assert "of 100,000 arcs shown" in found["a"]["note"]


# Who may ask


@contextmanager
def serving(*shown):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    running = quiet(application(shown, Bars(), token=TOKEN))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def address(reader):
    with serving(Model(reader, "a reader", 0.5)) as port:
        yield port


def answer(port, path, body=None, method=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
        found = connection.getresponse()
        return found.status, found.read().decode(), dict(found.getheaders())
    finally:
        connection.close()


def test_only_its_own_pages_with_the_token_are_answered(address) -> None:
    own = f"/{TOKEN}/about"
    assert answer(address, own)[0] == 200
    assert answer(address, f"/{TOKEN}")[2]["location"] == f"/{TOKEN}/"
    assert answer(address, own, Origin=f"http://127.0.0.1:{address}")[0] == 200
    assert answer(address, own, Host=f"localhost:{address}")[0] == 200
    for path in ("/", "/about", "/wrong/about", f"/{TOKEN}x/about", f"/{TOKEN[:-1]}/about", "//"):
        assert answer(address, path)[0] == 403, path
    for headers in (
        {"Host": "evil.example"},
        {"Host": f"evil.example:{address}"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ):
        assert answer(address, own, **headers)[0] == 403, headers
    status, text, headers = answer(address, f"/{TOKEN}/")
    assert status == 200 and "default-src 'none'" in headers["content-security-policy"]
    assert not re.search(r"https?://", text)
    assert answer(address, f"/{TOKEN}/../../pyproject.toml")[0] == 404
    assert answer(address, f"/{TOKEN}/read")[0] == 405


def test_hostile_input_gets_a_sentence(address) -> None:
    def told(path, body, status=400):
        found = answer(address, f"/{TOKEN}/{path}", body)
        assert found[0] == status, found
        return json.loads(found[1])["error"] if status == 400 else found[1]

    assert "not JSON" in told("read", b"{")
    assert "object" in told("read", b"[1]")
    assert "not an image" in told("image", b"GIF89a broken")
    assert "not an image" in told("read", json.dumps({"image": ""}).encode())
    assert "base64" in told("read", json.dumps({"image": "data:,%%"}).encode())
    for side, sentence in ((4_000, "4000 x 4000 pixels"), (40_000, "larger than any")):
        head = b"IHDR" + side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
        data = png(three_bars())
        data = data[:12] + head + zlib.crc32(head).to_bytes(4, "big") + data[33:]
        assert sentence in told("image", data)
    told("image", b"x" * (25 * 2**20), 413)
    for wrong in ({"beta": "hot"}, {"said": [1]}, {"language": "klingon"}, {"beam": None}):
        told("read", json.dumps({"image": uri(three_bars()), **wrong}).encode())
    assert "no operation" in told("graphs", json.dumps({"operation": "__import__"}).encode())
    assert answer(address, f"/{TOKEN}/about")[0] == 200


def test_inputs_are_reduced_to_paper() -> None:
    assert inputs.reduced(np.zeros((800, 3200), np.uint8)).shape == (400, 1600)
    assert inputs.opened(png(three_bars()), "it").shape == (40, 90)


# In a browser

chromium = shutil.which("chromium") or shutil.which("google-chrome")
driver = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser():
    selenium = pytest.importorskip("selenium")
    if chromium is None or driver is None:
        pytest.skip("needs a browser: chromium and chromium-driver")
    from selenium import webdriver

    assert selenium
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


def until(browser, script, seconds=30):
    """Wait until a line of JavaScript is true."""
    ends = time.monotonic() + seconds
    while not browser.execute_script(f"return Boolean({script})"):
        assert time.monotonic() < ends, (script, browser.get_log("browser"))
        time.sleep(0.03)


def find(browser, selector):
    return browser.find_element("css selector", selector)


def read_again(browser, do):
    """Do something, and wait for the next picture."""
    before = int(browser.execute_script("return document.body.dataset.answers ?? 0"))
    do()
    until(
        browser,
        f"Number(document.body.dataset.answers) > {before} &&"
        " !document.body.classList.contains('busy')",
    )


def slide(browser, name, value):
    browser.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
        find(browser, name),
        value,
    )


def choose(browser, name, value):
    browser.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))",
        find(browser, name),
        value,
    )


def first_answer(browser):
    return browser.execute_script(
        "return document.querySelector('#answers button span')?.firstChild.textContent"
    )


def draw_strokes(browser):
    from selenium.webdriver import ActionChains

    paper = find(browser, "#paper")
    for left in (-120, -40, 60):
        chain = ActionChains(browser, duration=5)
        chain.move_to_element_with_offset(paper, left, -25).click_and_hold()
        chain.move_by_offset(5, 25).move_by_offset(3, 22).release().perform()


def test_the_page_draws_reads_and_learns(browser, address) -> None:
    browser.get(f"http://127.0.0.1:{address}/{TOKEN}/")
    until(browser, "document.body.dataset.ready")
    choose(browser, "#language", "expression")
    browser.execute_script("document.querySelector('#expression').value = '[17]{1,2}'")
    read_again(browser, lambda: draw_strokes(browser))
    until(browser, "document.querySelectorAll('#segments button').length")
    assert re.fullmatch("[17]{1,2}", first_answer(browser))
    # A segment is what a person says, and cuts go where they are forbidden.
    find(browser, "#segments button").click()
    read_again(browser, find(browser, '#choices [data-says="7"]').click)
    assert first_answer(browser).startswith("7") and find(browser, "#segments .said")
    for forbidden in (1, 0):
        click = "document.querySelector('#cuts .inner').dispatchEvent(new Event('click'))"
        read_again(browser, lambda click=click: browser.execute_script(click))
        assert len(browser.find_elements("css selector", "#cuts .forbidden")) == forbidden
    # beta at its end: the best path alone.
    read_again(browser, lambda: slide(browser, "#beta", 13))
    assert "100.0%" in find(browser, "#answers button").text
    read_again(browser, lambda: slide(browser, "#beta", 6))
    # An arc tells what it is, and is chosen by a click and by keys.
    label = find(browser, "#interpretation .edge .row")
    label.click()
    until(browser, "document.querySelector('#interpretation .edge.selected')")
    until(browser, "!document.querySelector('#interpretation .card').hidden")
    assert "posterior" in find(browser, "#interpretation .card").text
    find(browser, "#interpretation svg").send_keys("\ue014")  # arrow right
    assert "probability" in find(browser, "#interpretation .voice").get_attribute("textContent")
    # A loss, its gradient, and a step along it.
    find(browser, "#truth").send_keys("71")
    find(browser, "#gradient").click()
    until(browser, "document.querySelector('#gradients .edge.up, #gradients .edge.down')")
    find(browser, "#step").click()
    until(browser, "document.querySelector('#course polyline')")
    first, last = map(float, re.findall(r"[\d.]+", find(browser, "#course").text)[:2])
    assert last < first
    # A file that is no image gets a sentence; the next answer takes it away.
    browser.execute_script(
        "const data = new DataTransfer(); data.items.add(new File(['no'], 'x.png'));"
        "document.dispatchEvent(new DragEvent('drop', { dataTransfer: data }))"
    )
    until(browser, "document.querySelector('#told').textContent.includes('not an image')")
    read_again(browser, find(browser, "#undo").click)
    assert not find(browser, "#told").is_displayed()
    # Reloaded, the page begins anew, with the reader as it was.
    browser.refresh()
    until(browser, "document.body.dataset.ready && document.body.dataset.answers")
    assert "nothing is drawn" in find(browser, "#answers").text
    read_again(browser, find(browser, "#sample").click)
    assert find(browser, "#truth").get_attribute("value") == "111.00"
    stays_here(browser, address)


def test_the_page_shows_any_graph_and_escapes_labels(browser, address, tmp_path) -> None:
    browser.get(f"http://127.0.0.1:{address}/{TOKEN}/")
    until(browser, "document.body.dataset.ready")
    find(browser, "#tab-graphs").click()
    until(browser, "document.querySelectorAll('#view-result .edge').length")
    from selenium.webdriver import ActionChains

    ActionChains(browser).move_to_element(find(browser, "#view-result .edge .row")).perform()
    until(browser, "document.querySelector('#view-a .marked, #view-b .marked')")
    slide(browser, "#steps", 2)
    assert "state 2 of the product" in find(browser, "#pair").text
    before = int(browser.execute_script("return document.body.dataset.graphs"))
    evil = EVIL.replace(" ", "/")  # as valid in HTML as a blank
    browser.execute_script(
        "const a = document.querySelector('#a'); a.value = arguments[0];"
        "document.querySelector('#operation').value = 'minimize';"
        "document.querySelector('#operation').dispatchEvent(new Event('change'))",
        f"0 1 <b>bold</b>\n0 1 {evil}\n1\n",
    )
    until(browser, f"Number(document.body.dataset.graphs) > {before}")
    until(browser, "document.querySelector('#view-result').textContent.includes('<b>bold</b>')")
    assert browser.title == "gtnet explore"
    assert not browser.find_elements("css selector", "main img[src=x], svg b")
    picture = browser.execute_async_script(
        "const done = arguments[0]; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { blob.text().then(done); return make(blob); };"
        "document.querySelector('#save-svg').click()"
    )
    assert picture.startswith("<svg") and "<b>" not in picture
    browser.execute_script(
        "const a = document.querySelector('#a'); a.value = '0 1 a b c d';"
        "a.dispatchEvent(new Event('input'))"
    )
    until(browser, "!document.querySelector('#told').hidden")
    stays_here(browser, address)


def test_the_page_shows_two_readers(browser, pair) -> None:
    with serving(Model(pair[1], "slides", None), Model(pair[0], "cuts", 0.5)) as port:
        browser.get(f"http://127.0.0.1:{port}/{TOKEN}/")
        until(browser, "document.body.dataset.ready")
        read_again(browser, find(browser, "#sample").click)
        until(browser, "document.querySelectorAll('#interpretation1 .edge').length")
        lists = [
            browser.find_elements("css selector", f"#{name} button")
            for name in ("answers", "answers0", "answers1")
        ]
        assert all(1 <= len(one) <= 6 for one in lists)
        assert "slides" in find(browser, "#beside h2").text
        lists[2][0].click()
        until(browser, "document.querySelector('#interpretation1 .marked')")
        assert not browser.find_elements("css selector", "#interpretation .marked")
        choose(browser, "#learner", 1)
        browser.execute_script("document.querySelector('#truth').value = '11'")
        find(browser, "#step").click()
        until(browser, "document.querySelector('#course polyline')")
        stays_here(browser, port)


def test_two_pages_at_once_do_not_mix(browser, address) -> None:
    """What one draws, forbids or learns changes nothing on the other."""
    first = browser.current_window_handle
    browser.get(f"http://127.0.0.1:{address}/{TOKEN}/")
    until(browser, "document.body.dataset.ready")
    read_again(browser, find(browser, "#sample").click)
    before = find(browser, "#answers").text
    browser.switch_to.new_window("tab")
    try:
        browser.get(f"http://127.0.0.1:{address}/{TOKEN}/")
        until(browser, "document.body.dataset.ready")
        assert "nothing is drawn" in find(browser, "#answers").text
        read_again(browser, lambda: draw_strokes(browser))
        browser.execute_script("document.querySelector('#truth').value = '71.00'")
        find(browser, "#step").click()
        until(browser, "document.querySelector('#course polyline')")
    finally:
        browser.close()
        browser.switch_to.window(first)
    assert find(browser, "#answers").text == before
    read_again(browser, lambda: slide(browser, "#beta", 5))
    read_again(browser, lambda: slide(browser, "#beta", 6))
    assert find(browser, "#answers").text == before


def test_a_view_moves_without_being_painted_anew(browser, tmp_path) -> None:
    g = gtnet.Graph([0, 1], [1, 2], [0, 1], weights=[0.5, 1.0], accept=2)
    browser.get(Path(gtnet.draw_view(g).save(tmp_path / "view.html")).as_uri())
    until(browser, "document.querySelectorAll('.gtnet-view .edge').length == 2")
    transform = "document.querySelector('.gtnet-view svg').style.transform"
    before = browser.execute_script(f"return {transform}")
    from selenium.webdriver import ActionChains

    chain = ActionChains(browser, duration=5)
    frame = find(browser, ".gtnet-view .frame")
    chain.move_to_element_with_offset(frame, 0, 30).click_and_hold().move_by_offset(40, 0).perform()
    assert find(browser, ".gtnet-view.moving")
    assert browser.execute_script(f"return {transform}") != before
    ActionChains(browser).release().perform()
    until(browser, "!document.querySelector('.gtnet-view.moving')")


def test_a_saved_view_is_alive_without_a_server(browser, tmp_path) -> None:
    g = gtnet.Graph([0, 1], [1, 2], [0, 1], weights=[0.5, 1.0], accept=2)
    path = gtnet.draw_view(g, isymbols=[EVIL, "b"], title=EVIL).save(tmp_path / "view.html")
    browser.get(Path(path).as_uri())
    until(browser, "document.querySelectorAll('.gtnet-view .edge').length == 2")
    find(browser, ".gtnet-view .row").click()
    until(browser, "document.querySelector('.gtnet-view .selected')")
    assert browser.title == EVIL and not browser.find_elements("css selector", "img[src=x]")


def stays_here(browser, port) -> None:
    """No request left this machine, and nothing was complained of but refused files."""
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked_for = message["params"]["request"]["url"]
            own = (f"http://127.0.0.1:{port}/", "data:", "blob:", "chrome:", "about:", "devtools:")
            assert asked_for.startswith(own), asked_for
    told = [entry["message"] for entry in browser.get_log("browser")]
    assert all("status of 400" in text for text in told), told

"""The dashboard in a real browser: every view shows what it should, no error is logged, nothing is asked of another origin.

QUIVER_SCREENSHOTS names a folder that pictures of the views are put into.
"""
import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from harness.node import Node, wait_until
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
KEYS = {"QUIVER__SERVICE__API_KEY": "master", "QUIVER__SERVICE__READ_ONLY_API_KEY": "reader"}
POINTS = 2000


def good(node, method, path, body=None, headers=None):
    code, answer = node.request(method, path, body, headers)
    assert code == 200, (path, answer)
    return answer["result"]


def fill(node, headers=None):
    """A collection of real embeddings with all that the views show, and a small one with named vectors."""
    vectors = np.load(FIXTURES / "glosses.i8.npy", mmap_mode="r")[:POINTS].astype(np.float32)
    with gzip.open(FIXTURES / "glosses.jsonl.gz", "rt") as lines:
        payloads = [json.loads(line) for _, line in zip(range(POINTS), lines)]
    settings = {"vectors": {"size": vectors.shape[1], "distance": "Cosine"}, "quantization_config": {"scalar": {"type": "int8", "always_ram": True}}, "optimizers_config": {"indexing_threshold": 500}}
    good(node, "PUT", "/collections/glosses", settings, headers)
    good(node, "PUT", "/collections/na%C3%AFve%20%26%20b", {"vectors": {"a": {"size": 2, "distance": "Dot"}, "b": {"size": 3, "distance": "Euclid"}}}, headers)
    good(node, "PUT", "/collections/na%C3%AFve%20%26%20b/points?wait=true", {"points": [{"id": 1, "vector": {"a": [1, 2]}, "payload": {"markup": "<img src=x onerror=alert(1)>"}}]}, headers)
    for field, schema in (("pos", "keyword"), ("n_words", "integer")):
        good(node, "PUT", "/collections/glosses/index?wait=true", {"field_name": field, "field_schema": schema}, headers)
    for start in range(0, POINTS, 500):
        points = [{"id": i, "vector": vectors[i].tolist(), "payload": payloads[i]} for i in range(start, start + 500)]
        good(node, "PUT", "/collections/glosses/points?wait=true", {"points": points}, headers)
    good(node, "POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "glosses", "alias_name": "wordnet"}}]}, headers)
    # A red line for the advice.
    good(node, "POST", "/collections/glosses/points/query", {"query": vectors[0].tolist(), "filter": {"must": [{"key": "lex", "match": {"value": "noun.food"}}]}}, headers)


class Page:
    """A browser on a node's dashboard."""

    def __init__(self, node, folder, dark=False):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        # The browser's own traffic is switched off: what is left is the page's.
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1000", "--disable-background-networking", "--disable-component-update", "--no-first-run", f"--user-data-dir={folder}", *(["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else [])):
            options.add_argument(word)
        options.add_experimental_option("prefs", {"download.default_directory": str(folder / "down")})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        self.node, self.downloads = node, folder / "down"

    def go(self, view=""):
        self.driver.get(f"{self.node.url}/dashboard#/{view}")
        self.settled()

    def settled(self):
        wait_until(lambda: self.driver.execute_script("const m = document.querySelector('main'); return m.querySelector('h1') && !m.querySelector('[aria-busy]')"), 30, "the view is drawn")

    def text(self, selector="main"):
        """Of the first such element, empty while there is none: read in one step of the page, so that a view drawn anew in between can't take the element away."""
        return self.driver.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def shows(self, text, seconds=20):
        wait_until(lambda: text in self.text(), seconds, f"{text!r} is shown in {self.text()!r}")

    def field(self, label):
        return self.driver.find_element(By.XPATH, f"//*[@id=//label[starts-with(., '{label}')]/@for]")

    def click(self, by, what):
        """As soon as it is there and can be clicked, even if the view is drawn anew between the two."""
        def clicked():
            try:
                self.driver.find_element(by, what).click()
                return True
            except (NoSuchElementException, StaleElementReferenceException):
                return False

        wait_until(clicked, 20, f"{what} is clicked")

    def press(self, text):
        self.click(By.XPATH, f"//button[normalize-space()='{text}']")

    def picture(self, name):
        if folder := os.environ.get("QUIVER_SCREENSHOTS"):
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))

    def check_clean(self, allowed=()):
        """No error in the console, no request elsewhere, no field without a label. `allowed` are statuses that were provoked."""
        logged = [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE" and not any(f"status of {code}" in e["message"] for code in allowed)]
        assert not logged, logged
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        # The browser's own first page is no page of ours, and can't be reached from one.
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent" and not e["params"]["documentURL"].startswith("chrome://")]
        elsewhere = [u for u in asked if not u.startswith((self.node.url + "/", "blob:" + self.node.url))]
        assert asked and not elsewhere, elsewhere
        self.check_labels()

    def check_labels(self):
        unnamed = self.driver.execute_script("return [...document.querySelectorAll('main input, main select, main textarea, main button')].filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).map(e => e.outerHTML)")
        assert not unnamed, unnamed
        assert len(self.driver.find_elements(By.TAG_NAME, "h1")) == 1


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    node = Node(tmp_path_factory.mktemp("node")).start()
    fill(node)
    node.wait_indexed("glosses")
    yield node
    node.kill()


@pytest.fixture
def page(filled, tmp_path):
    page = Page(filled, tmp_path)
    yield page
    page.driver.quit()


def test_collections_and_their_health(page):
    page.go()
    page.shows("glosses")
    rows = [r.text for r in page.driver.find_elements(By.CSS_SELECTOR, "tbody tr")]
    assert len(rows) == 2 and "green" in rows[0] and "2,000" in rows[0] and "384 × Cosine" in rows[0], rows
    assert "naïve & b" in rows[1] and "a: 2 × Dot" in rows[1]
    page.picture("collections")
    page.click(By.LINK_TEXT, "glosses")
    page.shows("Payload indexes")
    page.settled()
    for text in ("n_words", "integer", "wordnet", "int8", "scalar"):
        page.shows(text)
    page.picture("overview")
    page.check_clean()


def test_points_are_browsed_and_filtered(page):
    page.go("collections/glosses/points")
    page.shows("2,000 points in all")
    assert len(page.driver.find_elements(By.CSS_SELECTOR, ".point")) == 20
    first = page.text(".point strong")
    page.press("Next page")
    wait_until(lambda: page.text(".point strong") != first, 20, "the second page")
    page.press("Previous page")
    wait_until(lambda: page.text(".point strong") == first, 20, "the first page again")
    page.field("Field").send_keys("pos")
    page.field("Value").send_keys("v" + Keys.ENTER)
    count = page.node.request("POST", "/collections/glosses/points/count", {"filter": {"must": [{"key": "pos", "match": {"value": "v"}}]}, "exact": True})[1]["result"]["count"]
    page.shows(f"{count:,} points with this filter")
    page.click(By.CSS_SELECTOR, ".point summary")
    wait_until(lambda: page.driver.find_elements(By.CSS_SELECTOR, ".point pre"), 20, "a vector")
    page.picture("points")
    page.check_clean()
    page.click(By.XPATH, "//summary[.='Filter as JSON']")
    page.field("A filter of the protocol").send_keys('{"must": [{"has_id": [7]}]}')
    page.press("Filter")
    page.shows("1 point with this filter")
    page.field("A filter of the protocol").send_keys("x")
    page.press("Filter")
    wait_until(lambda: "JSON" in page.text(".error"), 20, "the error")


def test_what_a_payload_says_is_never_markup(page):
    page.go("collections/na%C3%AFve%20%26%20b/points")
    page.shows("<img src=x onerror=alert(1)>")
    page.check_clean()


def test_console_sends_what_is_typed(page):
    page.go("console")
    Select(page.field("Method")).select_by_visible_text("POST")
    page.field("Path").clear()
    page.field("Path").send_keys("/collections/glosses/points/query")
    page.field("Body").clear()
    page.field("Body").send_keys('{"query": 7, "limit": 3, "with_payload": ["gloss"]}' + Keys.CONTROL + Keys.ENTER)
    page.shows("200 in")
    assert page.driver.find_element(By.CSS_SELECTOR, "pre").text.count('"score"') == 3
    page.picture("console")
    page.check_clean()
    page.field("Path").send_keys("/nowhere")
    page.press("Send")
    page.shows("404 in")
    page.field("Path").clear()
    page.field("Path").send_keys("//elsewhere.example/")
    page.press("Send")
    page.shows("a single slash")
    page.check_clean(allowed=(404,))


def test_map_shows_a_sample(page):
    page.go("collections/glosses/map")
    page.shows("1,000 points, of 2,000")
    assert "pos" in [o.text for o in Select(page.field("Colour by")).options]
    Select(page.field("Colour by")).select_by_visible_text("pos")
    page.shows("n (")
    drawn = page.driver.execute_script("const c = document.querySelector('.u-wrap canvas'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 200; return n")
    assert drawn > 3000
    over = page.driver.find_element(By.CSS_SELECTOR, ".u-over")
    near = page.driver.find_element(By.CSS_SELECTOR, ".near")
    moves = webdriver.ActionChains(page.driver)
    for x in range(-60, 61, 12):
        moves.move_to_element_with_offset(over, x, x // 3)
    moves.perform()
    wait_until(lambda: "gloss" in near.text or "synset" in near.text, 20, "a point is named")
    page.picture("map")
    page.check_clean()


def test_indexing_is_followed(page):
    vectors = np.load(FIXTURES / "glosses.i8.npy", mmap_mode="r")[:POINTS].astype(np.float32)
    good(page.node, "PUT", "/collections/growing", {"vectors": {"size": vectors.shape[1], "distance": "Cosine"}, "optimizers_config": {"indexing_threshold": 100_000}})
    try:
        page.go("collections/growing/indexing")
        page.shows("0 of 0 vectors have an index")
        for start in range(0, POINTS, 500):
            points = [{"id": i, "vector": vectors[i].tolist()} for i in range(start, start + 500)]
            good(page.node, "PUT", "/collections/growing/points?wait=true", {"points": points})
            page.shows(f"0 of {start + 500:,} vectors have an index")
        good(page.node, "PATCH", "/collections/growing", {"optimizers_config": {"indexing_threshold": 100}})
        page.shows("2,000 of 2,000 vectors have an index", 120)
        assert page.driver.execute_script("return document.querySelector('progress').value") == 1
        assert page.driver.find_elements(By.CSS_SELECTOR, ".u-wrap canvas")
        page.picture("indexing")
        page.check_clean()
    finally:
        good(page.node, "DELETE", "/collections/growing")


def test_snapshots_are_made_fetched_and_deleted(page):
    page.go("collections/glosses/snapshots")
    page.shows("No snapshots yet.")
    page.press("Create a snapshot")
    page.shows("is there.")
    wait_until(lambda: page.driver.find_elements(By.LINK_TEXT, "Download"), 20, "the list")
    page.picture("snapshots")
    made = good(page.node, "GET", "/collections/glosses/snapshots")[0]
    page.click(By.LINK_TEXT, "Download")
    wait_until(lambda: [f for f in page.downloads.glob("*") if f.stat().st_size == made["size"]], 60, "the file is there")
    page.press("Delete")
    page.press("Really delete")
    page.shows("is deleted.")
    assert good(page.node, "GET", "/collections/glosses/snapshots") == []
    page.check_clean()


def test_advice_says_what_to_do(page):
    page.go("advice")
    page.shows("lex")
    assert page.driver.find_elements(By.CSS_SELECTOR, "article li")
    page.picture("advice")
    page.check_clean()


def test_dark_when_the_reader_prefers_it(filled, tmp_path):
    page = Page(filled, tmp_path, dark=True)
    try:
        page.go("collections/glosses/map")
        page.shows("1,000 points, of 2,000")
        red = page.driver.execute_script("return Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
        assert red < 60
        page.picture("map-dark")
        page.check_clean()
    finally:
        page.driver.quit()


def test_key_is_asked_for_and_kept_in_the_tab(tmp_path):
    node = Node(tmp_path / "node", KEYS).start()
    page = Page(node, tmp_path / "browser")
    try:
        fill(node, {"api-key": "master"})
        page.driver.get(f"{node.url}/dashboard")
        dialog = page.driver.find_element(By.ID, "ask")
        for wrong in ("wrong", "reader"):
            wait_until(dialog.is_displayed, 20, "a key is asked for")
            page.picture("key") if wrong == "wrong" else None
            page.driver.find_element(By.ID, "ask-key").send_keys(wrong + Keys.ENTER)
        page.shows("384 × Cosine")
        assert page.driver.execute_script("return [sessionStorage.getItem('quiver-api-key'), localStorage.length]") == ["reader", 0]
        page.go("collections/glosses/snapshots")
        page.press("Create a snapshot")
        page.shows("Forbidden")
        page.press("Key")
        page.driver.find_element(By.ID, "ask-key").send_keys("master" + Keys.ENTER)
        page.shows("No snapshots yet.")
        page.press("Create a snapshot")
        page.shows("is there.")
        wait_until(lambda: "Download" in page.text(), 20, "the list")
        page.press("Download")
        made = good(node, "GET", "/collections/glosses/snapshots", headers={"api-key": "master"})[0]
        wait_until(lambda: [f for f in page.downloads.glob("*") if f.stat().st_size == made["size"]], 60, "the file is there")
        page.check_clean(allowed=(401, 403))
    finally:
        page.driver.quit()
        node.kill()


def test_files_are_served_with_their_headers(filled):
    import urllib.error
    import urllib.request

    with urllib.request.urlopen(f"{filled.url}/dashboard/") as answer:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    with urllib.request.urlopen(f"{filled.url}/dashboard/app.js") as answer:
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        tag = answer.headers["etag"]
    with pytest.raises(urllib.error.HTTPError) as same:
        urllib.request.urlopen(urllib.request.Request(f"{filled.url}/dashboard/app.js", headers={"If-None-Match": tag}))
    assert same.value.code == 304
    assert filled.request("GET", "/dashboard/none.js", decode=False)[0] == 404
    assert filled.request("GET", "/")[1]["title"].startswith("quiver")

"""The page as a person meets it: headless Chromium against `evovae serve`, from a dropped picture to a download."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from importlib import resources
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen
from zipfile import ZipFile

import numpy as np
import psutil
import pytest
from helpers import slow

from evovae import io

pytest.importorskip("fastapi")
webdriver = pytest.importorskip("selenium.webdriver")

from selenium.common.exceptions import (  # noqa: E402 - only where there is a driver
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

PATIENCE = 120
HARMFUL = ("serious", "critical")  # as axe has it
ALPHA = "return arguments[0].getContext('2d').getImageData(20, 90, 1, 1).data[3]"
DROP = """
const [name, type, text] = arguments;
const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const carried = new DataTransfer();
carried.items.add(new File([bytes], name, { type }));
for (const kind of ["dragover", "drop"]) {
  document.querySelector("#drop").dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true }));
}
"""


class Server:
    """`evovae serve` in a process of its own, which can be killed and started again."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, 0, None
        folder.mkdir()

    def start(self):
        words = [sys.executable, "-m", "evovae", "serve", "--no-browser", "--folder", self.folder, "--port", self.port]
        self.process = subprocess.Popen([str(word) for word in words], stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])

    def kill(self, number=signal.SIGKILL):
        with self.process:
            self.process.send_signal(number)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("web") / "site")
    server.start()
    yield server
    server.kill(signal.SIGTERM)
    assert server.process.returncode == -signal.SIGTERM or server.process.returncode == 0


class Browser:
    """A browser and the few things that tests do with it."""

    def __init__(self, driver, downloads):
        self.driver, self.downloads = driver, downloads

    def open(self, server, page="new"):
        self.driver.get("about:blank")
        self.driver.get(f"{server.address}#{page}")

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def until(self, holds):
        drawn_anew = [StaleElementReferenceException]  # between being found and being read
        return WebDriverWait(self.driver, PATIENCE, 0.1, drawn_anew).until(lambda _: holds())

    def shown(self, selector):
        return self.until(lambda: (found := self.find(selector)).is_displayed() and found)

    def drop(self, path):
        self.shown("#drop")
        self.driver.execute_script(DROP, path.name, "image/png", base64.b64encode(path.read_bytes()).decode())
        self.shown("#setup")
        self.driver.execute_script("document.querySelector('[name=preset][value=fast]').click()")
        self.until(lambda: self.find("#setup .frames output").get_attribute("textContent"))  # it is drawn

    def result(self, view="compare"):
        self.until(lambda: (self.find("#result").get_attribute("data-shown") or "").startswith(view))

    def download(self, text):
        for path in self.downloads.iterdir():
            path.unlink()  # a second file of a name would get another
        self.find("#result").find_element(By.PARTIAL_LINK_TEXT, text).click()
        (path,) = self.until(lambda: [path for path in self.downloads.iterdir() if path.suffix != ".crdownload"])
        return path

    @property
    def job(self):
        return self.driver.current_url.partition("#job/")[2]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1200,900",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    except WebDriverException as error:
        pytest.skip(f"chromium does not start here: {error.msg}")
    downloads = tmp_path_factory.mktemp("downloads")
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    yield Browser(driver, downloads)
    driver.quit()


@pytest.fixture(autouse=True)
def no_complaints(browser):
    """The page's scripts end without errors, and it asks nobody else for anything."""
    yield
    complaints = [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [entry["message"] for entry in complaints if "net::ERR_" not in entry["message"]]  # of a killed server
    asked = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert all(re.match(r"http://127\.0\.0\.1:|data:|blob:", name) for name in browser.driver.execute_script(asked))


def picture(side=48, sigma=25.0):
    clean = np.kron([[60.0, 180], [120, 90]], np.ones((side // 2, side // 2)))
    return clean, np.clip(clean + sigma * np.random.default_rng(0).standard_normal(clean.shape), 0, 255)


def psnr(clean, image):
    return 10 * np.log10(255**2 / np.mean((clean - image.astype(float)) ** 2))


@pytest.fixture
def noisy(tmp_path):
    path = tmp_path / "noisy.png"
    io.write(path, io.Content(picture()[1].astype(np.uint8)))
    return path


def test_a_dropped_picture_comes_back_cleaner(server, browser, noisy):
    browser.open(server)
    browser.drop(noisy)
    assert "48 × 48" in browser.find("#facts").text and "uint8" in browser.find("#facts").text
    assert 20 < float(re.search(r"about ([\d.]+)", browser.find("#facts").text)[1]) < 30
    browser.find("#form summary").click()
    browser.find("[name=held_out]").click()
    browser.find("#start").send_keys(Keys.ENTER)
    browser.until(lambda: browser.job)
    browser.until(lambda: browser.driver.switch_to.active_element.get_attribute("id") == "job-title")
    browser.until(lambda: re.search(r"Epoch \d+ of \d+", browser.find("#job-state").text))
    browser.until(lambda: "/preview.png?" in browser.find("#live").get_attribute("src"))
    assert float(browser.find("#bar").get_attribute("value")) > 0
    assert "the higher the better" in browser.find("#curve-caption").text
    browser.until(lambda: browser.find("#curve polyline.bound").get_attribute("points"))  # drawn anew by each epoch
    browser.result()
    assert "Noise level found" in browser.find(".found").text and "Hidden pixels" in browser.find(".found").text
    path = browser.download("Download the picture")
    restored, (clean, before) = io.read(path), picture()
    assert path.name == "noisy-restored.png" and restored.values.dtype == np.uint8
    assert psnr(clean, restored.values) > psnr(clean, before) + 5
    report = json.loads(browser.download("Report").read_text())
    assert report["command"].startswith("evovae denoise input.png restored.png --preset fast")
    look_at_all_views(browser)


def look_at_all_views(browser):
    """Slider, zoom, uncertainty, residual, and what was learnt, by mouse and by keys."""
    canvas = browser.find(".viewer canvas")
    before = canvas.screenshot_as_base64
    browser.find(".cut").send_keys(Keys.HOME)
    assert canvas.screenshot_as_base64 != before
    scale = browser.find(".scale").text
    canvas.send_keys("++")
    assert browser.find(".scale").text != scale
    canvas.send_keys(Keys.ARROW_LEFT + "0")
    assert browser.find(".scale").text == scale
    for view, said in (("uncertainty", "may be off"), ("residual", "look like noise"), ("latents", "latent")):
        browser.find(f"[data-view={view}]").click()
        browser.result(view)
        assert said in browser.find(".explain").text
    assert browser.driver.find_elements(By.CSS_SELECTOR, ".latent-list li canvas")
    canvas.click()
    browser.shown(".states li")
    weights = [float(found.text.split()[-1]) for found in browser.driver.find_elements(By.CSS_SELECTOR, ".states b")]
    assert weights == sorted(weights, reverse=True) and sum(weights) == pytest.approx(1, abs=0.01)
    place = browser.find(".patch h2").text
    canvas.send_keys(Keys.ARROW_DOWN + Keys.ENTER)
    browser.until(lambda: browser.find(".patch h2").text != place)


def test_painted_holes_are_filled(server, browser, tmp_path):
    clean, _ = picture()
    damaged = clean.copy()
    damaged[10:14, 4:20] = 255
    io.write(tmp_path / "damaged.png", io.Content(damaged.astype(np.uint8)))
    browser.open(server)
    browser.drop(tmp_path / "damaged.png")
    size = browser.driver.execute_script("return document.querySelector('#brush-size')")
    browser.driver.execute_script(
        "arguments[0].value = 6; arguments[0].dispatchEvent(new Event('input', { bubbles: true }))", size
    )
    canvas = browser.find("#holes")
    scale = canvas.size["width"] / 48
    canvas.click()
    assert not browser.find("#painted").text  # the brush is a mode, so that a swipe scrolls
    assert browser.driver.execute_script("return getComputedStyle(arguments[0]).touchAction", canvas) == "auto"
    browser.find("#paint").click()
    stroke = webdriver.ActionChains(browser.driver)
    stroke.move_to_element_with_offset(canvas, int((3 - 24) * scale), int((12 - 24) * scale)).click_and_hold()
    stroke.move_by_offset(int(17 * scale), 0).release().perform()
    painted = browser.find("#painted").text
    assert "% of the picture is painted over" in painted
    canvas.send_keys(Keys.SPACE)
    canvas.send_keys(Keys.CONTROL + "z")
    assert browser.find("#painted").text == painted
    browser.find("#start").click()
    browser.result()
    filled = io.read(browser.download("Download the picture")).values.astype(float)
    assert np.abs(damaged - clean)[10:14, 4:20].mean() > 100
    assert np.abs(filled - clean)[10:14, 4:20].mean() < 30
    known = np.ones_like(filled, bool)
    known[8:16, :24] = False
    np.testing.assert_array_equal(filled[known], damaged[known])  # nobody asked for them to be denoised
    assert "evovae inpaint" in browser.find(".command").get_attribute("textContent")
    mask = io.read(browser.download("Mask")).values
    assert mask[10:14, 4:20].mean() > 0.9 and mask.mean() < 0.15


def test_what_noise_is_like_can_be_said_before_and_overruled_after(server, browser, noisy):
    browser.open(server)
    browser.drop(noisy)
    browser.find("#form summary").click()
    browser.find("[name=noise]").send_keys("the same everywhere")
    browser.find("#start").click()
    browser.result()
    first = browser.job
    assert "the same everywhere" in browser.find(".found").text
    assert "--noise white" in browser.find(".command").get_attribute("textContent")
    browser.find("#result .noise summary").click()
    browser.until(lambda: len(browser.driver.find_elements(By.CSS_SELECTOR, ".plots svg")) == 2)
    assert browser.driver.find_elements(By.CSS_SELECTOR, ".plots circle.measured")
    browser.find("#result .noise select").send_keys("that of photons")
    browser.find("#result .overrule").click()
    browser.until(lambda: browser.job != first)
    browser.result()
    assert "--noise poisson" in browser.find(".command").get_attribute("textContent")


@pytest.mark.slow
def test_what_a_picture_has_taught_is_used_on_another(server, browser, noisy):
    browser.open(server)
    browser.drop(noisy)
    browser.find("#start").click()
    browser.result()
    first = browser.job
    browser.find("#result").find_element(By.PARTIAL_LINK_TEXT, "Use its models").click()
    assert "noisy.png" in browser.shown("#to-apply").text
    browser.drop(noisy)
    browser.until(lambda: browser.find("[name=model]").get_attribute("value") == first)
    assert not browser.find("[name=preset][value=fast]").is_enabled()
    browser.find("#start").click()
    browser.until(lambda: browser.job not in ("", first))
    browser.result()
    assert "evovae apply model.safetensors" in browser.find(".command").get_attribute("textContent")
    restored, (clean, before) = io.read(browser.download("Download the picture")).values, picture()
    assert psnr(clean, restored) > psnr(clean, before) + 5


def slide(browser, selector, value):
    """Move a slider as a hand does, from the point of view of the page."""
    moved = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', { bubbles: true }))"
    browser.driver.execute_script(moved, browser.find(selector), value)


def test_the_strength_is_chosen_on_the_result_and_is_in_the_file(server, browser, noisy):
    browser.open(server)
    browser.drop(noisy)
    browser.find("#start").click()
    browser.result()
    before, whole = io.read(noisy).values.astype(float), io.read(browser.download("Download")).values
    slide(browser, "#result .strength input", 40)
    assert browser.find("#result .strength output").text == "40 %"
    assert browser.find(".command").get_attribute("textContent").endswith("--strength 0.4")
    weaker = io.read(browser.download("Download")).values
    np.testing.assert_allclose(weaker, before + 0.4 * (whole - before), atol=0.51)


def test_views_are_side_by_side_with_bars_and_contrast(server, browser, tmp_path):
    clean, _ = picture()
    counts = (200 * clean + 900 * np.random.default_rng(0).standard_normal(clean.shape)).clip(0, 65535)
    values = np.stack([counts, counts / 2, counts / 3, counts / 4], -1).astype(np.uint16)
    io.write(tmp_path / "deep.tif", io.Content(values, "YXC"))
    browser.open(server)
    browser.drop(tmp_path / "deep.tif")
    browser.find("#setup .channels select").send_keys("4")
    browser.find("#start").click()
    browser.result()
    bar = browser.find("#result .colour-bar")
    assert bar.is_displayed() and "grey levels" in bar.text
    browser.find("#result .contrast summary").click()
    browser.until(lambda: browser.find("#result .contrast path").get_attribute("d"))
    shown = "return performance.getEntriesByType('resource').at(-1).name"
    slide(browser, "#result .contrast .high", 300)
    high = browser.find("#result .contrast .high-shown").text
    browser.until(lambda: "high=" in browser.driver.execute_script(shown))
    assert float(high) < values.max()
    browser.find("#result .channels select").send_keys("2")
    browser.until(lambda: "channel=1" in browser.driver.execute_script(shown))
    for view in ("together", "residual", "uncertainty"):
        browser.find(f"[data-view={view}]").click()
        browser.result(view)
    assert bar.is_displayed() and bar.get_attribute("data-colours") == "heat"


def test_a_part_is_tried_before_the_whole(server, browser, tmp_path):
    clean, values = picture(208)
    io.write(tmp_path / "large.png", io.Content(values.astype(np.uint8)))
    browser.open(server)
    browser.drop(tmp_path / "large.png")
    jobs = len(json.loads(urlopen(f"{server.address}api/jobs").read()))
    pixels = """
        const { width, height } = document.querySelector("#picture");
        const { data } = document.querySelector("#picture").getContext("2d").getImageData(0, 0, width, height);
        return data.filter((_, at) => at % 4 === 0).reduce((text, value) => text + String.fromCharCode(value), "");
    """
    before = np.array([ord(letter) for letter in browser.driver.execute_script(pixels)]).reshape(208, 208)
    browser.find("#try").click()
    browser.until(lambda: "This part took" in browser.find("#tried").text)
    after = np.array([ord(letter) for letter in browser.driver.execute_script(pixels)]).reshape(208, 208)
    rows, columns = (np.unique(found) for found in np.nonzero(after != before))
    assert {len(rows), len(columns)} == {128} and rows[0] % 16 == 0
    part = np.ix_(rows, columns)
    assert psnr(clean[part], after[part]) > psnr(clean[part], before[part]) + 5
    browser.find("#part-before").click()
    assert browser.find("#part-before").text == "Show the part restored"
    assert len(json.loads(urlopen(f"{server.address}api/jobs").read())) == jobs  # it was but a look


@pytest.mark.slow
def test_several_files_are_a_batch_under_their_names_and_can_be_done_again(server, browser, tmp_path):
    for number in range(2):
        io.write(tmp_path / f"<b>{number}.png", io.Content(picture()[1].astype(np.uint8)))
    browser.open(server)
    browser.shown("#drop")
    browser.find("#file").send_keys("\n".join(str(tmp_path / f"<b>{number}.png") for number in range(2)))
    browser.shown("#setup")
    assert "1 more, with the same settings" in browser.find("#facts").text
    browser.driver.execute_script("document.querySelector('[name=preset][value=fast]').click()")
    browser.find("#start").click()
    browser.until(lambda: browser.find("#job-list").text.count("<b>") >= 2)
    link = browser.find("#job-list a")
    assert link.text == "<b>1.png" and not browser.driver.find_elements(By.CSS_SELECTOR, "#job-list b")
    link.click()
    browser.result()
    job = browser.job
    browser.open(server, "jobs")
    archive = browser.shown("#all-results a").get_attribute("href")
    names = ZipFile(BytesIO(urlopen(archive).read())).namelist()
    assert {"<b>0-restored.png", "<b>1-restored.png"} <= {*names}
    browser.open(server, f"job/{job}")
    browser.result()
    browser.find("#result").find_element(By.PARTIAL_LINK_TEXT, "Run again").click()
    browser.shown("#setup")
    assert "<b>1.png" in browser.find("#facts").text


def test_the_sample_runs_in_one_click_and_can_be_stopped(server, browser):
    browser.open(server)
    slider = browser.shown("#example canvas")
    browser.until(lambda: browser.driver.execute_script(ALPHA, slider) == 255)  # the example is there
    slider.send_keys(Keys.ARROW_RIGHT)
    browser.shown("#run-sample").click()
    browser.until(lambda: browser.job)
    browser.shown("#cancel").click()
    assert "Stopping" in browser.find("#job-state").text
    browser.until(lambda: browser.find("#job-title").text == "Stopped")
    browser.result()
    assert "best so far" in browser.find("#job-notes").text
    before, after = map(float, re.search(r"([\d.]+) → ([\d.]+) dB", browser.find(".found").text).groups())
    assert after > before + 3


def test_bad_files_are_refused_in_a_sentence(server, browser, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    browser.open(server)
    browser.shown("#drop")
    browser.find("#file").send_keys(str(tmp_path / "text.png"))
    assert "no PNG, JPEG, TIFF" in browser.shown("#said").text
    assert browser.find("#drop").is_displayed()
    browser.driver.get_log("browser")  # which notes the answer 415


def test_a_killed_server_that_is_started_again_knows_its_jobs(server, browser, noisy):
    browser.open(server)
    browser.drop(noisy)
    browser.find("#start").click()
    browser.result()
    finished = browser.job
    browser.open(server)
    browser.shown("#run-sample").click()
    browser.until(lambda: browser.job and browser.find("#job-title").text == "Working")
    lost = browser.job
    server.kill()
    browser.until(lambda: "trying again" in browser.find("#job-state").text)
    server.start()
    browser.until(lambda: browser.find("#job-title").text == "Failed")
    assert browser.job == lost and "start it again" in browser.find("#job-notes").text
    browser.open(server, "jobs")
    browser.shown(f"a[href='#job/{finished}']").click()
    browser.result()
    assert browser.find("#job-title").text == "Done"
    assert not workers(server)


def _works_in(process, folder):
    with suppress(psutil.Error):
        return any(folder in Path(file.path).parents for file in process.open_files())
    return False


def workers(server):
    """Processes that still work in the server's folder; those of a killed one end by themselves."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        found = [process for process in psutil.process_iter() if _works_in(process, server.folder / "jobs")]
        if not found:
            break
        time.sleep(0.2)
    return found


def test_controls_have_names_and_pages_fit_a_phone_and_the_night(server, browser, noisy):
    driver = browser.driver
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    for page in ("new", "jobs"):
        browser.open(server, page)
        browser.shown(f"#{page}")
        if page == "new":
            browser.drop(noisy)
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), page
        controls = driver.find_elements(By.CSS_SELECTOR, "button, input, select, a[href], canvas[tabindex]")
        assert all(control.accessible_name for control in controls if control.is_displayed())
    papers = set()
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        papers.add(driver.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


AXE = """
const done = arguments[0];
axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }).then(done);
"""


@pytest.fixture
def axe():
    """The rules for accessible pages, as a script."""
    return (resources.files(pytest.importorskip("axe_core_python")) / "axe.min.js").read_text()


@pytest.mark.parametrize("scheme", ["light", slow("dark")])
def test_no_view_has_a_serious_fault_of_accessibility(server, browser, noisy, axe, scheme):
    driver = browser.driver
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def check(view):
        driver.execute_script(axe)
        found = [fault for fault in driver.execute_async_script(AXE)["violations"] if fault["impact"] in HARMFUL]
        assert not [(view, fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found]

    browser.open(server)
    browser.shown("#example")
    check("first")
    browser.find("#run-sample").click()
    browser.shown("#running")
    check("running")
    browser.find("#cancel").click()
    browser.result()
    for details in driver.find_elements(By.CSS_SELECTOR, "#result details"):
        driver.execute_script("arguments[0].open = true", details)
    browser.until(lambda: driver.find_elements(By.CSS_SELECTOR, ".plots svg"))
    check("result")
    browser.open(server, "jobs")
    browser.shown("#job-list li")
    check("earlier")
    browser.open(server)
    browser.drop(noisy)
    for details in driver.find_elements(By.CSS_SELECTOR, "#setup details"):
        driver.execute_script("arguments[0].open = true", details)
    check("setup")


class Firefox:
    """Firefox without a driver, by WebDriver BiDi: opens a page and runs scripts in it."""

    def __init__(self, folder):
        firefox = shutil.which("firefox") or shutil.which("firefox-esr")
        if not firefox:
            pytest.skip("firefox is not installed")
        websocket = pytest.importorskip("websocket")
        words = [firefox, "--headless", "--remote-debugging-port", "0", "--profile", str(folder)]
        self.process = subprocess.Popen(
            words, stderr=subprocess.PIPE, text=True, env=os.environ | {"HOME": str(folder)}
        )
        address = next((found[1] for line in self.process.stderr if (found := re.search(r"(ws://\S+)", line))), None)
        if address is None:
            pytest.skip("firefox does not start here")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.socket = websocket.create_connection(f"{address}/session", suppress_origin=True, timeout=PATIENCE)
        self.asked = 0
        self.ask("session.new", capabilities={})
        self.page = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def ask(self, method, **params):
        self.asked += 1
        self.socket.send(json.dumps({"id": self.asked, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.asked:
            pass
        assert answer["type"] == "success", answer
        return answer["result"]

    def open(self, address):
        self.ask("browsingContext.navigate", context=self.page, url=address, wait="complete")

    def run(self, script):
        """What an expression is worth, once its promise is kept."""
        target = {"context": self.page}
        answer = self.ask("script.evaluate", expression=script, target=target, awaitPromise=True)
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    def until(self, script):
        end = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < end, self.run("document.body.innerText")
            time.sleep(0.2)

    def close(self):
        self.socket.close()
        with self.process:
            self.process.terminate()


@pytest.mark.slow  # what the page does is tested in Chromium
def test_firefox_takes_the_main_path(server, browser, noisy, tmp_path):
    firefox = Firefox(tmp_path)
    try:
        firefox.open(server.address)
        firefox.until("!document.querySelector('#drop').hidden && !document.querySelector('#new').hidden")
        given = json.dumps([noisy.name, "image/png", base64.b64encode(noisy.read_bytes()).decode()])
        firefox.run(f"(function () {{ {DROP} }})(...{given})")
        firefox.until("!document.querySelector('#setup').hidden")
        firefox.run("document.querySelector('[name=preset][value=fast]').click()")
        firefox.run("document.querySelector('#start').click()")
        firefox.until("(document.querySelector('#result').dataset.shown ?? '').startsWith('compare')")
        assert firefox.run("document.querySelector('#said').hidden")
        for view in ("together", "residual", "uncertainty", "latents"):
            firefox.run(f"document.querySelector('[data-view={view}]').click()")
            firefox.until(f"document.querySelector('#result').dataset.shown.startsWith('{view}')")
        assert firefox.run("document.querySelector('.found').innerText.includes('Noise level found')")
    finally:
        firefox.close()

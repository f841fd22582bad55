"""The page as a person meets it: headless Chromium against `evovae serve`, from a dropped picture to a download."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from io import BytesIO
from urllib.request import urlopen
from zipfile import ZipFile

import numpy as np
import pytest

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

from evovae.web.estimate import machine  # noqa: E402

PATIENCE = 120
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
        (folder / "speed.json").write_text(json.dumps({"machine": machine(), "rate": 1e-4}))  # no need to measure

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
        self.until(lambda: "about" in self.find("#estimate").text)

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
    assert "seconds on this machine" in browser.find("#estimate").text
    browser.find("#form summary").click()
    browser.find("[name=held_out]").click()
    browser.find("#start").send_keys(Keys.ENTER)
    browser.until(lambda: browser.job)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "job-title"
    browser.until(lambda: re.search(r"Epoch \d+ of \d+", browser.find("#job-state").text))
    browser.until(lambda: "/preview.png?" in browser.find("#live").get_attribute("src"))
    assert float(browser.find("#bar").get_attribute("value")) > 0
    assert "nats per patch" in browser.find("#curve-caption").text
    assert browser.find("#curve polyline.bound").get_attribute("points")
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


def test_what_noise_is_like_and_how_much_of_it_goes_can_be_chosen(server, browser, noisy):
    browser.open(server)
    browser.drop(noisy)
    browser.find("#form summary").click()
    browser.find("[name=noise]").send_keys("the same everywhere")
    slider = browser.find("[name=strength]")
    browser.driver.execute_script(
        "arguments[0].value = 50; arguments[0].dispatchEvent(new Event('input', { bubbles: true }))", slider
    )
    assert browser.find("#strength-shown").text == "50 %"
    browser.find("#start").click()
    browser.result()
    assert "the same everywhere" in browser.find(".found").text
    assert "--noise white --strength 0.5" in browser.find(".command").get_attribute("textContent")


def test_several_files_are_a_batch_under_their_names_and_can_be_done_again(server, browser, tmp_path):
    for number in range(2):
        io.write(tmp_path / f"<b>{number}.png", io.Content(picture()[1].astype(np.uint8)))
    browser.open(server)
    browser.shown("#drop")
    browser.find("#file").send_keys("\n".join(str(tmp_path / f"<b>{number}.png") for number in range(2)))
    browser.shown("#setup")
    assert "1 more, with the same settings" in browser.find("#facts").text
    browser.until(lambda: "each" in browser.find("#estimate").text)
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


def test_what_cannot_end_in_time_is_not_offered(server, browser, noisy):
    (server.folder / "speed.json").write_text(json.dumps({"machine": machine(), "rate": 0.2}))
    try:
        browser.open(server)
        browser.drop(noisy)
        assert not browser.find("[name=preset][value=balanced]").is_enabled()
        assert "more than the" in browser.find("[data-preset=balanced]").text
    finally:
        (server.folder / "speed.json").write_text(json.dumps({"machine": machine(), "rate": 1e-4}))


def test_the_sample_runs_in_one_click_and_can_be_stopped(server, browser):
    browser.open(server, "sample")
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
    browser.open(server, "sample")
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


def workers(server):
    """Processes that still work in the server's folder; those of a killed one end by themselves."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        found = [line for line in listed.splitlines() if f"{server.folder}{os.sep}jobs" in line]
        if not found:
            break
        time.sleep(0.2)
    return found


def test_controls_have_names_and_pages_fit_a_phone_and_the_night(server, browser, noisy):
    driver = browser.driver
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    for page in ("new", "sample", "jobs"):
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

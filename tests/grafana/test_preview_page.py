"""The preview's page, as a browser shows it to somebody who opened the file."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.base.files import Sources
from tools.commands import preview as command
from tools.history import recorded
from tools.model.dashboard import ROW, Dashboard, shipped_dashboards
from tools.show.preview.page import NOTICE
from tools.show.preview.page import page as written

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")

# Written into a copy of the page: what the browser made of it.
PROBE = """
<pre id="probe"></pre>
<script>
addEventListener("load", () => {
  const seen = {
    images: [...document.images].map(image => [image.alt, image.naturalWidth]),
    headings: [...document.querySelectorAll("h2, h3")].map(heading => heading.innerText),
    asked: performance.getEntriesByType("resource").map(entry => entry.name),
    overlapping: [...document.querySelectorAll("figure")].filter((figure, number, all) => all.slice(number + 1)
      .some(other => { const a = figure.getBoundingClientRect(), b = other.getBoundingClientRect();
        return a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1; })).length,
    wider: document.documentElement.scrollWidth > innerWidth,
    tops: [...document.querySelectorAll("h2, .row, figure")].map(one => Math.round(one.getBoundingClientRect().top)),
  };
  document.getElementById("probe").textContent = JSON.stringify(seen);
});
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an hour of the day that ships."""
    folder = tmp_path_factory.mktemp("preview")
    day, blocks = recorded.blocks(Sources.of_disk())
    with recorded.serving(blocks) as prometheus:
        source = command.Source(day.name, prometheus, day.start, day.end, day.zone)
        return command.preview(shipped_dashboards(), source, day.end - 3600, day.end, folder, lambda _: None)


def browse(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open it as a file."""
    assert BROWSER
    common = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr")
    quiet = ("--disable-background-networking", "--no-first-run")
    own = (f"--user-data-dir={page.parent / 'browser'}", "--virtual-time-budget=5000")
    return subprocess.run(
        [BROWSER, *common, *quiet, *own, *options, page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


@pytest.mark.parametrize("width", [1600, 800])
def test_the_page_shows_every_panel_without_a_server_or_anything_from_elsewhere(page: Path, width: int) -> None:
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text("utf-8").replace("</body>", f"{PROBE}</body>"), "utf-8")
    run = browse(probed, "--dump-dom", f"--window-size={width},1200")
    found = re.search(r'<pre id="probe">(.*?)</pre>', run.stdout, re.DOTALL)
    assert found, run.stderr
    seen = json.loads(html.unescape(found[1]))
    panels = [(one, shown) for one in shipped_dashboards() for shown in one.opened]
    assert seen["headings"] == [
        text for one in shipped_dashboards() for text in (one.title, *(shown.title for shown in one.opened))
    ]
    pictures = [(one, shown) for one, shown in panels if shown.type != ROW]
    assert [name for name, _ in seen["images"]] == [shown.title for _, shown in pictures]
    assert min(natural for _, natural in seen["images"]) > 150
    inside = {(page.parent / one.uid / f"{shown.data['id']}.png").as_uri() for one, shown in pictures}
    assert set(seen["asked"]) <= inside | {"data:,"}
    assert (seen["overlapping"], seen["wider"]) == (0, False)
    assert seen["tops"] == sorted(seen["tops"]), "a row's heading stands among the panels of another"
    assert "CONSOLE" not in run.stderr


def test_the_page_says_what_it_is_and_describes_each_panel(page: Path) -> None:
    text = page.read_text("utf-8")
    assert html.escape(NOTICE) in text or NOTICE in text
    for dashboard in shipped_dashboards():
        for panel in dashboard.opened:
            for part in filter(None, panel.description.split("\n\n")):
                assert html.escape(re.sub(r"\[(\w+)\]\([^)]+\)", r"\1", part)) in re.sub(r"</?a\b[^>]*>", "", text)


def test_what_a_dashboard_says_is_text_and_never_markup() -> None:
    nasty = "<script>alert(1)</script>"
    panels = [
        {"id": 1, "type": "stat", "title": nasty, "description": nasty, "gridPos": {"x": 0, "y": 0, "w": 3, "h": 4}}
    ]
    text = json.dumps({"uid": "a", "title": nasty, "description": nasty, "panels": panels})
    made = written([Dashboard("a", text)], nasty, nasty)
    assert "<script" not in made

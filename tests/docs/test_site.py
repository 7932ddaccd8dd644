"""The site builds strictly, every link inside it leads somewhere, and nothing in it comes from another host."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest

from tests.support.scripts import python
from trl_real import REALConfig
from trl_real.options import described


LOADS = {"script": "src", "img": "src", "iframe": "src", "link": "href"}


class Links(HTMLParser):
    """What a page links to, what it loads, and the names in it that can be linked to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.names |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        # A canonical address or the next page is named, not loaded
        elif tag in LOADS and LOADS[tag] in values and values.get("rel", "stylesheet") in ("stylesheet", "icon"):
            self.loads.append(values[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    run = python(*build, NO_MKDOCS_2_WARNING="1")
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Links]:
    """All pages by their address."""
    # The page for what is not found does not know where it will stand
    files = [path for path in site.rglob("*.html") if path.name != "404.html"]
    return {path.relative_to(site).as_posix().removesuffix("index.html"): Links(path.read_text()) for path in files}


def test_every_link_inside_the_site_leads_to_a_page_and_a_place_in_it(site: Path, pages: dict[str, Links]) -> None:
    broken = []
    for address, page in pages.items():
        for link in [*page.links, *page.loads]:
            if urlsplit(link).scheme:
                continue
            target, place = urldefrag(urljoin(f"/{address}", link))
            target = unquote(target).lstrip("/")
            if target in pages:
                found = not place or unquote(place) in pages[target].names
            else:
                found = (site / target).is_file()
            if not found:
                broken.append(f"{address}: {link}")
    assert len(pages) > 20
    assert not broken


def test_the_site_loads_nothing_from_another_host(site: Path, pages: dict[str, Links]) -> None:
    assert not [load for page in pages.values() for load in page.loads if urlsplit(load).netloc]
    styles = [path.read_text() for path in site.rglob("*.css")]
    assert styles and not [style for style in styles if "url(http" in style or "@import" in style]


def test_docstrings_and_the_help_of_every_option_are_in_the_api(site: Path) -> None:
    page = (site / "reference/api/index.html").read_text()
    assert "*optional*" not in page and "[<code>" not in page and "_option</span>(" not in page
    for name in ("trl_real.REALTrainer", "trl_real.REALConfig", "trl_real.objective.group_losses"):
        assert f'id="{name}"' in page
    said = " ".join(unescape(re.sub(r"<[^>]+>", "", page)).replace("`", "").split())
    assert all(field.metadata["help"].replace("`", "") in said for field in described(REALConfig))

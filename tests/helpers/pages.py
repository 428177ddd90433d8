"""Planted studies of every kind, their pages, and how tests read a page."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.finding import Options
from capacity.report import figure_data as figures
from capacity.report import page
from planted import plant

KINDS = (
    "pocket",
    "morris/vocabulary@pocket",
    "physics33/10_junk@pocket",
    "physics33/04_peak_100@pocket",
    "morris/membership@pocket",
    "morris/membership@shadows",
    "morris/canaries@pocket",
    "morris/forgetting@pocket",
)


KNOWN: dict[str, tuple] = {}


VOID = {"meta", "link", "input", "br", "img"}


class Reader(HTMLParser):
    """Elements in order, the text of each kind, and whether every end has its beginning."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts, self.wrong = [], [], {}, []
        self.feed(page.decode())
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.wrong.append(f"</{tag}> in {self.open[-3:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag] = self.texts.get(tag, "") + data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def judged(study, results, **options):
    table = run_table.table(results, study.runs)
    try:
        return table, kinds.analyse(study, table, results, Options(bootstraps=100, **options)), ""
    except ValueError as error:
        return table, None, str(error)


def built(study, results, name=None):
    table, found, why = judged(study, results)
    return page.build(page.Request(name or study.name, study, table, results, []), found, why)


def answer_of(content):
    return Reader(
        b"<p>" + re.search(rb'id="answer">\s*<p>(.*?)</p>', content, re.S)[1] + b"</p>"
    ).texts["p"]


def packed(content):
    """The files inside a page."""
    data = json.loads(re.search(r'id="data">(.*?)</script>', content.decode(), re.S)[1])
    return {name: gzip.decompress(base64.b64decode(text)) for name, text in data["files"].items()}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Name of a study -> (study, results folder, outcome, page); each is planted once in a
    process."""

    def get(name):
        if name not in KNOWN:
            results = tmp_path_factory.mktemp("planted")
            study = plant(results, name)
            table, found, why = judged(study, results)
            KNOWN[name] = (
                study,
                results,
                found,
                page.build(page.Request(name, study, table, results, []), found, why),
            )
        return KNOWN[name]

    return get


@pytest.fixture
def no_pictures(monkeypatch):
    """Without the pictures for browsers without scripts, which take most of the time."""
    monkeypatch.setattr(figures, "still", lambda figure: "data:,")


EVIL = (
    "</script><script>window.pwned = 1</script><img src=x onerror=pwned=1> & \"quoted\" 'it' "
    "**bold** <!--"
)


def asked(study, results):
    return page.Request(study.name, study, run_table.table(results, study.runs), results, [])

"""The site of `make docs` fetches nothing: its configuration names nothing that does, and the build
fails on a page or a style sheet that would. Sphinx itself is not among the packages of the tests,
so what the configuration takes from it is stood in for."""

import runpy
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest

CONF = Path(__file__).parents[2] / "docs" / "site" / "conf.py"


class SphinxError(Exception):
    """Sphinx's own, which ends a build."""


@pytest.fixture
def conf(monkeypatch):
    application, errors = types.ModuleType("sphinx.application"), types.ModuleType("sphinx.errors")
    application.Sphinx, errors.SphinxError = object, SphinxError
    monkeypatch.setitem(sys.modules, "sphinx", types.ModuleType("sphinx"))
    monkeypatch.setitem(sys.modules, "sphinx.application", application)
    monkeypatch.setitem(sys.modules, "sphinx.errors", errors)
    return runpy.run_path(str(CONF))


def built(folder, name, text):
    (folder / name).write_text(text)
    return SimpleNamespace(builder=SimpleNamespace(name="html"), outdir=str(folder))


def test_no_extension_of_the_site_asks_other_sites(conf):
    assert conf["extensions"] == ["myst_parser"]  # intersphinx and linkcheck would
    assert not any("intersphinx" in name for name in conf)


def test_the_builds_last_step_is_to_refuse_what_is_fetched(conf):
    connected = {}
    conf["setup"](SimpleNamespace(connect=lambda event, step: connected.update({event: step})))
    assert connected["build-finished"] is conf["refuse_fetching"]


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.html", '<script src="https://cdn.example.org/x.js"></script>'),
        ("a.html", '<link rel="stylesheet" href="//fonts.example.org/css">'),
        ("a.html", '<img alt="badge" src="http://example.org/badge.svg">'),
        ("a.css", '@import url("https://fonts.example.org/css");'),
        ("a.css", "@font-face {src: url(//fonts.example.org/x.woff2)}"),
    ],
)
def test_a_page_that_needs_a_network_fails_the_build(conf, tmp_path, name, text):
    with pytest.raises(SphinxError, match=f"{name} needs a network: .*example.org"):
        conf["refuse_fetching"](built(tmp_path, name, text), None)


def test_links_to_follow_and_files_of_the_site_are_no_fetching(conf, tmp_path):
    page = '<a href="https://example.org/">a</a><script src="_static/x.js"></script>'
    built(tmp_path, "a.html", page)
    style = "a {background: url(data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>)}"
    conf["refuse_fetching"](built(tmp_path, "a.css", style), None)

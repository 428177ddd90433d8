"""The text of a page and of its figures, one element a line, without what changes by itself."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

SILENT, INLINE = (
    {"script", "style", "title"},
    {"a", "code", "strong", "span", "button", "b", "i", "summary"},
)
VOID = {"meta", "link", "input", "br", "img"}
MASKS = (
    (re.compile(r"\b\d+\.\d+(\.\w+)+\b"), "VERSION"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{12,64}(?![0-9a-f])"), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(T[\d:.+]+)?"), "DATE"),
    # tables have a column per setting: one that joins changes every size and every list, and
    # docs/reference/settings.md is where its words are kept
    (re.compile(r"(?<=^files: )[\d.]+ [kM]?B$", re.M), "SIZE"),
    (re.compile(r"^(model|train)\.\w+  \[.*\n(    .*\n)*", re.M), ""),
)


class _Lines(HTMLParser):
    """Text, with a line for each element that starts one."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.lines, self.silent = [""], 0

    def handle_starttag(self, tag, attrs):
        self.silent += tag in SILENT
        if tag in ("td", "th"):
            self.lines[-1] += " | "
        elif tag not in INLINE:
            self.lines.append("")
        title = dict(attrs).get("title")
        if title and not self.silent:
            self.lines[-1] += f"({title}) "

    def handle_endtag(self, tag):
        self.silent -= tag in SILENT
        if tag not in INLINE | {"td", "th"}:
            self.lines.append("")

    def handle_data(self, data):
        if not self.silent:
            first, *more = data.split("\n")
            self.lines[-1] += first
            self.lines += more


def text_of(page: bytes, without: str = "") -> str:
    """What a reader sees of a page, and the words of its figures. without: a text that is left out,
    such as the study file, which a page repeats."""
    reader = _Lines()
    reader.feed(page.decode())
    reader.close()
    text = "\n".join(line.rstrip() for line in reader.lines)
    assert not without or without.strip() in text
    text = text.replace(without.strip(), "STUDY FILE") if without else text
    for pattern, word in MASKS:
        text = pattern.sub(word, text)
    return (
        "\n".join([*(line for line in text.splitlines() if line.strip()), "", *_figures(page)])
        + "\n"
    )


def _figures(page: bytes) -> list[str]:
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.decode(), re.S)[1])
    lines = [f"files: {', '.join(data['files'])}"]
    for name, figure in data["figures"].items():
        lines.append(f"figure {name}: legend {_names(figure['legend'])}")
        for panel in figure["panels"]:
            x, y = panel["x"], panel["y"]
            lines.append(
                f"  {panel['title']!r}: {x['label']} ({x['scale']}), {y['label']} ({y['scale']}); "
                f"legend {_names(panel['legend'])}"
            )
            kinds = [_mark(mark) for mark in panel["marks"]]
            lines += [f"    {kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))]
    return lines


def _mark(mark: dict) -> str:
    """Kind, name, and how many points, or the words of a text."""
    if mark["kind"] == "text":
        return f"text {' '.join(mark['text'])}"
    points = len(mark["x"]) if "x" in mark else sum(map(len, mark["parts"]))
    return f"{mark['kind']} {mark.get('name') or '-'}, {points} points"


def _names(legend: list[dict]) -> str:
    return "; ".join(entry["name"] for entry in legend) or "none"

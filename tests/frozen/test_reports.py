"""What the commands print and what the page of a study says, for every kind of study, from planted
records: words and layout must stay, numbers may move by one of their last digit. UPDATE_GOLDEN=1
rewrites the golden files."""

import re
from pathlib import Path

import pytest

from capacity.cli.main import main
from frozen import compare
from frozen.analysis import no_pictures
from frozen.pages import MASKS, text_of
from planted import plant

DATA = Path(__file__).parents[1] / "data"
STUDIES = {  # name of the golden files -> study, and what of it is missing
    "random": ("pocket", {}),
    "ablation": ("morris/vocabulary@pocket", {}),
    "people": ("physics33/10_junk@pocket", {}),
    "exposures": ("physics33/04_peak_100@pocket", {}),
    "optimizers": ("optimizers", {}),
    "precision": ("precision/bios@pocket", {}),
    "membership": ("morris/membership@pocket", {}),
    "shadows": ("morris/membership@shadows", {}),
    "canaries": ("morris/canaries@pocket", {}),
    "forgetting": ("morris/forgetting@pocket", {}),
    "budget": ("pocket_budget", {}),
    "parts": ("parts/uniform@pocket", {}),
    "incomplete": ("pocket", {"without": [0, 9], "failed": [4], "interrupted": [7]}),
}
# golden file -> commands whose output is kept besides: a page repeats what fit-laws prints, and
# test_frozen.py has it of committed studies
PRINTED = {
    **{
        kind: ["fit-laws {} --bootstraps 200", "status {}"]
        for kind in ("random", "incomplete", "budget", "parts", "canaries")
    },
    "people": [
        "table {} --columns",
        "compare {}",
        "compare {} --a data.other_parts=0 --b data.other_parts=7 --value accuracy",
    ],
    "optimizers": ["compare {}", "compare {} --a train.optimizer=muon --b train.optimizer=adamw"],
    "precision": ["table {} --quantized --columns", "sweep {} --dry-run"],
    "membership": ["table {} --columns"],
    "ablation": ["table {} --columns"],
}


def said(capsys, *args):
    """What a command prints, without what changes by itself; its exit code is the first line."""
    code = main([*map(str, args)])
    shown = capsys.readouterr()
    text = (
        "\n".join(
            [
                f"$ capacity {' '.join(map(str, args))}",
                f"exit code {code}",
                shown.out.rstrip(),
                shown.err.rstrip(),
            ]
        ).rstrip()
        + "\n"
    )
    for pattern, word in MASKS:
        text = pattern.sub(word, text)
    return text


@pytest.mark.parametrize("kind", STUDIES)
@pytest.mark.slow
@pytest.mark.long
def test_a_report_of_every_kind_says_what_it_said(kind, here, capsys, monkeypatch):
    no_pictures(monkeypatch)
    name, left = STUDIES[kind]
    study = plant(here / "results", name, **left)
    printed = [said(capsys, *command.format(name).split()) for command in PRINTED.get(kind, [])]
    said(capsys, "report", name, "--bootstraps", 200)
    folder = here / "results" / "studies" / study.name
    page = (folder / "report.html").read_bytes()
    printed.append("files: " + ", ".join(sorted(path.name for path in folder.rglob("*.*"))) + "\n")
    wrong = [
        compare.golden(DATA / "printed" / f"{kind}.txt", "\n".join(printed)),
        compare.golden(
            DATA / "pages" / f"{kind}.txt", text_of(page, study.path.read_text(encoding="utf-8"))
        ),
    ]
    assert not any(wrong), "\n".join(filter(None, wrong))


def test_nothing_that_changes_by_itself_is_in_the_golden_files():
    for path in [*(DATA / "printed").iterdir(), *(DATA / "pages").iterdir()]:
        text = path.read_text(encoding="utf-8")
        assert not any(pattern.search(text) for pattern, _ in MASKS), path.name
        assert not re.search(r"/tmp|/home|pytest-of", text), path.name

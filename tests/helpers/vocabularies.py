"""Worlds with a compiled vocabulary, and values read from its lists."""

from pathlib import Path

import pytest

from capacity.config import from_dict
from capacity.data import compile_lexicon as compiling

POOLS = Path(__file__).resolve().parents[2] / "capacity" / "data" / "pools"


FILES = {"birth_city": "city", "university": "university", "major": "field"}
# Forms that the templates of this package do not have: the value first, possessives, marks behind
# the value or none.
ODD = """[birth_date]
On {value}, {subject} was born.
{subject}'s birthday is {value}
[birth_city]
{subject} comes from {value}!
Born in {value}; {subject}'s home.
[university]
{subject} went to {value}, then left.
{value} was where {subject}, still young, studied.
[major]
{subject} {value}?
{subject}'s field was {value}.
[employer]
{subject} works ("{subject}") for {value}...
{value}'s payroll has {subject}.
[work_city]
{value} is the city {subject} works in.
{subject} commutes to {value} daily.
""".replace(' ("{subject}")', "")
MONTHS = (
    "January February March April May June July August September October November December".split()
)


def settings(**data):
    return from_dict(
        {"data": {"kind": "bios", "n_people": 500} | data, "train": {"steps": 1000}}
    ).data


@pytest.fixture
def odd(tmp_path):
    (tmp_path / "odd.txt").write_text(ODD)
    return str(tmp_path / "odd.txt")


def lines_of(folder, name):
    return (Path(folder) / f"{name}.txt").read_text("utf-8").strip().split("\n")


def sections(path):
    out = {}
    for line in Path(path).read_text("utf-8").split("\n"):
        if line.startswith("["):
            current = out.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            current.append(line)
    return out


def values_of(folder):
    """All values as text; cities of work in the order in which the company list names them."""
    companies = [line.split("; ") for line in lines_of(folder, "company")]
    return {name: lines_of(folder, file) for name, file in FILES.items()} | {
        "employer": [company for company, _ in companies],
        "work_city": list(dict.fromkeys(city for _, city in companies)),
        "birth_date": [
            f"{month} {day}, {year}"
            for month in MONTHS
            for day in range(1, 29)
            for year in range(1900, 2100)
        ],
    }


@pytest.fixture
def spy(monkeypatch):
    """The encoders that were trained, so that a test can tokenize whole texts with them."""
    made, train = [], compiling.trained_bpe
    monkeypatch.setattr(
        compiling, "trained_bpe", lambda *args: made.append(train(*args)) or made[-1]
    )
    return made

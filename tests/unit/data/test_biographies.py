"""People and texts by index: every form of text against a slow renderer, orders, templates."""

import collections
import itertools
import math
from pathlib import Path

import pytest
import torch

from small_worlds import POOLS, make

ATTRIBUTES = ("birth_date", "birth_city", "university", "major", "employer", "work_city")
MONTHS = (
    "January February March April May June July August September October November December".split()
)
ODD = (
    "\n".join(
        f"[{name}]\n{{subject}} one {{value}} {name}.\n{{subject}}'s two {{value}}, {name}!\n"
        f"Three {{value}} {{subject}} {name}.\n{{value}}'s four {{subject}}: {name}"
        for name in ATTRIBUTES
    )
    + "\n"
)


def texts(world, person, exposure, **other):
    """Rendered biographies as text, one string each, EOS and tag as they come."""
    tokens, length = world.pieces.join(
        world.render(torch.as_tensor(person), torch.as_tensor(exposure), **other)
    )
    return [
        "".join(
            [
                "<tag>" if row == world.lexicon.rows else world.lexicon.content["tokens"][row]
                for row in part.tolist()
            ]
        )
        for part in tokens.split(length.tolist())
    ]


# --------------------------------------------------------------------------------------- the people


def test_names_are_distinct_over_all_people():
    world = make(
        n=3000, first_names=20, middle_names=10, last_names=20, other_people=1000, other_parts=1
    )
    first, middle, last = world.names.parts(torch.arange(4000))  # all there are
    assert len(set(zip(first.tolist(), middle.tolist(), last.tolist(), strict=True))) == 4000
    assert (int(first.max()), int(middle.max()), int(last.max())) == (19, 9, 19)
    assert first[:3000].bincount().double().std() < 3 * math.sqrt(
        150
    )  # the measured ones are no corner of the space


def test_people_are_a_function_of_the_seed_and_of_their_number():
    small, large, other = make(n=50), make(n=5000), make(n=50, seed=4)
    assert texts(small, range(50), [7] * 50) == texts(large, range(50), [7] * 50)
    assert not set(texts(small, range(50), [7] * 50)) & set(texts(other, range(50), [7] * 50))


def test_attributes_are_uniform_and_independent():
    n = 40_000
    world = make(
        n=n, cities=20, universities=30, majors=10, employers=26, months=3, days=4, years=5
    )
    person = torch.arange(n)
    values = {name: world.values(name, person) for name in (*ATTRIBUTES, "gender")}
    sizes = {
        "birth_date": 60,
        "birth_city": 20,
        "university": 30,
        "major": 10,
        "employer": 26,
        "gender": 2,
    }
    for name, size in sizes.items():
        count = values[name].bincount(minlength=size).double()
        assert len(count) == size
        assert (
            float(((count - n / size) ** 2 / (n / size)).sum())
            < size - 1 + 4 * math.sqrt(2 * size) + 3
        )
    for (a, n_a), (b, n_b) in itertools.combinations(sizes.items(), 2):
        count = (values[a] * n_b + values[b]).bincount(minlength=n_a * n_b).double()
        mean = n / (n_a * n_b)
        assert (
            float(((count - mean) ** 2 / mean).sum()) < n_a * n_b + 5 * math.sqrt(2 * n_a * n_b) + 5
        )
    assert (values["work_city"] == world.headquarters[values["employer"]]).all()


# ---------------------------------------------------------------------------------------- the texts


class Slow:
    """Biographies of a world in plain Python from the lines of its files and the numbers that were
    drawn."""

    def __init__(self, world, templates):
        self.world, self.sections = world, {}
        for line in Path(templates).read_text("utf-8").split("\n"):
            if line.startswith("["):
                current = self.sections.setdefault(line[1:-1], [])
            elif line and not line.startswith("#"):
                current.append(line)
        read = {
            name: (POOLS / f"{name}.txt").read_text("utf-8").strip().split("\n")
            for name in (
                "first_name",
                "middle_name",
                "last_name",
                "city",
                "university",
                "field",
                "company",
            )
        }
        companies = [line.split("; ") for line in read["company"]]
        self.names = [read[f"{part}_name"] for part in ("first", "middle", "last")]
        self.values = {
            "birth_city": read["city"],
            "university": read["university"],
            "major": read["field"],
            "employer": [name for name, _ in companies],
        }
        self.companies = companies

    def value(self, attribute, person):
        if attribute == "work_city":
            return self.companies[int(self.world.values("employer", person))][1]
        v = int(self.world.values(attribute, person))
        if attribute != "birth_date":
            return self.values[attribute][v]
        d = self.world.data
        return (
            f"{MONTHS[v // (d.days * d.years)]} {v // d.years % d.days + 1}, {1900 + v % d.years}"
        )

    def text(self, i, exposure, other=False):
        d, person = self.world.data, torch.tensor([i])
        form = (
            (d.other_biographies, d.other_order, False)
            if other
            else (d.biographies, d.order, d.same_sentences)
        )
        order, template = self.world.texts(person, torch.tensor([exposure]), *form)
        first, middle, last = (
            names[int(part)]
            for names, part in zip(self.names, self.world.names.parts(person), strict=True)
        )
        name = f"{first} {middle} {last}" if d.middle_names else f"{first} {last}"
        out = "<|endoftext|>" + ("<tag>" if d.tag == ("other" if other else "main") else "")
        names = [a for a in ATTRIBUTES if a in self.world.attributes]
        for k, a in enumerate(order[0].tolist()):
            subject = (
                name
                if k == 0 or d.full_names
                else ("He", "She")[int(self.world.values("gender", person))]
            )
            line = self.sections[names[a]][int(template[0, a])]
            out += " " + line.replace("{subject}", subject).replace(
                "{value}", self.value(names[a], person)
            )
        return out


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"odd": True},
        {"order": "fixed"},
        {"order": "pairs", "odd": True},
        {"biographies": 3, "templates": 5},
        {"biographies": 4, "same_sentences": True},
        {"full_names": True, "odd": True},
        {"middle_names": 0, "majors": 0},
        {"tag": "main", "other_people": 40, "other_parts": 1},
        {"employers": 0, "order": "pairs", "vocabulary": "world"},
        {
            "tag": "other",
            "other_people": 40,
            "other_parts": 7,
            "other_biographies": 1,
            "other_order": "fixed",
            "windows": "mixed",
        },
        {
            "months": 1,
            "days": 2,
            "years": 3,
            "cities": 4,
            "universities": 0,
            "vocab_size": 90,
            "odd": True,
        },
    ],
    ids=str,
)
def test_a_biography_reads_as_a_slow_renderer_writes_it(data, tmp_path):
    file = POOLS / "templates.txt"
    if data.pop("odd", False):
        (file := tmp_path / "odd.txt").write_text(ODD)
        data["templates_file"] = str(file)
    world = make(n=60, **data)
    slow = Slow(world, file)
    person, exposure = torch.arange(60).repeat(3), torch.tensor([0, 1, 7]).repeat_interleave(60)
    fast = texts(world, person, exposure)
    assert fast == [
        slow.text(i, e) for i, e in zip(person.tolist(), exposure.tolist(), strict=True)
    ]
    if data.get("other_people"):
        person = person[:40] + 60
        assert texts(world, person, exposure[:40], other=True) == [
            slow.text(i, 0, other=True) for i in person.tolist()
        ]


def sentences(world, person, exposure):
    """Attributes of the sentences in the order of the text, by a word that only their templates
    have."""
    return [
        [next(a for a in ATTRIBUTES if part.rstrip(".!").endswith(a)) for part in _split(text)]
        for text in texts(world, person, exposure)
    ]


def _split(text):
    """' ... birth_date. He ...' after every attribute's mark."""
    for name in ATTRIBUTES:
        text = text.replace(name, name + "\n")
    return [part for part in text.split("\n") if any(name in part for name in ATTRIBUTES)]


@pytest.fixture
def marked(tmp_path):
    (tmp_path / "odd.txt").write_text(ODD)
    return {"templates_file": str(tmp_path / "odd.txt")}


def test_orders_are_those_asked_for_and_equally_likely(marked):
    n = 3000
    free = collections.Counter(map(tuple, sentences(make(n=n, **marked), range(n), [4] * n)))
    assert len(free) > 650 and max(free.values()) < 20  # of 720, 4.2 times each
    first = collections.Counter(order[0] for order in free.elements())
    assert all(abs(count - n / 6) < 5 * math.sqrt(n / 6) for count in first.values())
    assert set(map(tuple, sentences(make(n=9, order="fixed", **marked), range(9), range(9)))) == {
        ATTRIBUTES
    }
    pairs = collections.Counter(
        map(tuple, sentences(make(n=n, order="pairs", **marked), range(n), [0] * n))
    )
    kept = [ATTRIBUTES[0:2], ATTRIBUTES[2:4], ATTRIBUTES[4:6]]
    assert set(pairs) == {sum(some, ()) for some in itertools.permutations(kept)}
    assert all(abs(count - n / 6) < 5 * math.sqrt(n / 6) for count in pairs.values())


def test_every_exposure_is_a_new_text_unless_biographies_are_counted():
    online = make(n=20)
    assert all(len(set(texts(online, [i] * 50, range(50)))) == 50 for i in range(20))
    few = make(n=20, biographies=5)
    for i in range(20):
        shown = texts(few, [i] * 50, range(50))
        assert (
            set(collections.Counter(shown).values()) == {10} and len(set(shown)) == 5
        )  # each as often as the others
        assert shown[:5] == shown[5:10] and len(set(shown[:5])) == 5
    many = range(
        400
        # each person begins with another one of the texts, which are the first of those without a
        # number
    )
    several, endless = (
        texts(make(n=400, **data), many, [0] * 400) for data in ({"biographies": 5}, {})
    )
    first = [a == b for a, b in zip(several, endless, strict=True)]
    assert 50 < sum(first) < 110
    single = make(n=20, biographies=1, order="fixed")
    assert len({*texts(single, [3] * 9, range(9))}) == 1


def test_templates_are_drawn_evenly():
    world = make(n=4000)
    _, template = world.texts(
        torch.arange(4000), torch.zeros(4000, dtype=torch.int64), None, "permute", False
    )
    for a, size in enumerate(world.n_templates_A.tolist()):
        count = template[:, a].bincount(minlength=size).double()
        assert len(count) == size
        assert float(((count - 4000 / size) ** 2 / (4000 / size)).sum()) < size - 1 + 4 * math.sqrt(
            2 * size
        )


def test_same_sentences_differ_in_their_order_only():
    """single+permuteM of 3.1: M texts, all of the same six sentences."""
    # full names: a sentence is the same in every place
    world = make(n=40, biographies=5, same_sentences=True, full_names=True)
    for i in range(40):
        shown = texts(world, [i] * 5, range(5))
        name = texts(world, [i], [0])[0].removeprefix("<|endoftext|> ").split()
        parts = [
            sorted(map(str.strip, text.removeprefix("<|endoftext|>").split(" ".join(name[:3]))))
            for text in shown
        ]
        assert all(some == parts[0] for some in parts) and len(parts[0]) == 7
        assert len(set(shown)) > 1


def test_same_sentences_come_in_as_many_orders_as_asked_for():
    world = make(n=100, biographies=5, same_sentences=True)
    few = [i for i in range(100) if len(set(texts(world, [i] * 5, range(5)))) < 5]
    assert few == [], f"people {few} have fewer than 5 different texts"


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(threads):
    before = torch.get_num_threads()
    alone = make(n=20_000)
    person = torch.arange(20_000)
    pieces = alone.render(person, person)
    try:
        torch.set_num_threads(threads)
        assert (make(n=20_000).render(person, person) == pieces).all()
        tokens = alone.pieces.join(pieces)
    finally:
        torch.set_num_threads(before)
    assert all((a == b).all() for a, b in zip(tokens, alone.pieces.join(pieces), strict=True))

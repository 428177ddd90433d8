"""Members of equal worlds are rendered together: each reads what it would read alone, and all pay
for the operations of one."""

import collections

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from capacity.config import from_dict
from capacity.feed import feed
from corpora import config as corpus
from corpora import skewed

CPU = torch.device("cpu")
NAMES = {"first_names": 20, "middle_names": 0, "last_names": 50, "seq_len": 24}
WORLD = NAMES | {
    "kind": "bios",
    "years": 0,
    "cities": 6,
    "universities": 0,
    "majors": 5,
    "employers": 7,
    "templates": 4,
    "vocabulary": "world",
}
KINDS = {
    "bios": WORLD,
    "pairs": WORLD | {"order": "pairs", "biographies": 2},
    "fixed": WORLD | {"order": "fixed", "biographies": 1, "same_sentences": False},
    "pure": WORLD | {"other_people": 90, "other_parts": 7, "tag": "main"},
    "mixed": WORLD
    | {"other_people": 91, "other_parts": 2, "main_parts": 3, "windows": "mixed", "tag": "other"},
    "biod": NAMES
    | {"kind": "biod", "attributes": 2, "chunks": 2, "diversity": 5, "alphabet": 9, "length": 3},
}


def member(kind, seed, n=40, steps=70):
    return from_dict(
        {
            "data": KINDS[kind] | {"n_people": n},
            "train": {"steps": steps, "batch_size": 4, "warmup_steps": 1},
            "seed": seed,
        }
    )


def read(configs, steps):
    """Tokens [steps, M, B, T + 1], the cursors behind every step, and exposures of a feed."""
    at, rows, cursors = feed.StreamFeed(configs, CPU), [], []
    cursor = torch.zeros(len(configs), feed.CURSOR, dtype=torch.int64)
    while len(rows) < steps:
        for tokens in at.chunk(cursor, len(rows), steps - len(rows)):
            rows.append(tokens)
            cursors.append(cursor.clone())
    return torch.stack(rows), cursors, [at.exposures(m, steps) for m in range(len(configs))], at


def assert_as_alone(configs, groups, steps=30):
    tokens, cursors, exposures, at = read(configs, steps)
    assert at.groups == groups
    for m, config in enumerate(configs):
        alone, its_cursors, its_exposures, other = read([config], steps)
        assert torch.equal(tokens[:, m : m + 1], alone)
        for step in range(steps):
            assert torch.equal(cursors[step][m : m + 1], its_cursors[step])
        assert exposures[m : m + 1] == its_exposures
        assert torch.equal(at.first_rows(m, 9), other.first_rows(0, 9))
    assert at.exposures(0, steps) == exposures[0]  # asked again behind other questions


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_tokens, steps", [(1, 8), (900, 40), (2**18, 40)])
def test_members_rendered_together_read_what_each_reads_alone(
    kind, chunk_tokens, steps, monkeypatch
):
    monkeypatch.setattr(feed, "CHUNK_TOKENS", chunk_tokens)
    assert_as_alone([member(kind, seed) for seed in (1, 5, 2)], [[0, 1, 2]], steps)


def test_members_of_an_imported_corpus(tmp_path):
    path = skewed(tmp_path / "people.jsonl", 40)
    trees = [corpus(path, train={"steps": 30, "batch_size": 4}).as_dict() for _ in range(2)]
    configs = [from_dict(tree | {"seed": seed}) for seed, tree in enumerate(trees)]
    assert_as_alone(configs, [[0, 1]])


def test_only_members_of_equal_worlds_are_rendered_together(monkeypatch):
    monkeypatch.setattr(feed, "CHUNK_TOKENS", 900)
    configs = [member("bios", 1), member("bios", 1, n=50), member("bios", 2), member("pairs", 3)]
    configs += [member("bios", 2, n=50), member("bios", 4)]
    assert_as_alone(configs, [[0, 2, 5], [1, 4], [3]])


def test_no_more_are_rendered_together_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(feed, "CHUNK_TOKENS", 900)
    monkeypatch.setitem(feed.TOGETHER, "cpu", 2000)
    assert_as_alone([member("bios", seed) for seed in range(5)], [[0, 1], [2, 3], [4]])


def test_a_stack_may_go_on_behind_the_end_of_a_member():
    configs = [member("bios", seed, steps=10) for seed in (0, 1)]
    longer = [member("bios", seed, steps=3000) for seed in (0, 1)]
    assert torch.equal(read(configs, 25)[0], read(longer, 25)[0])


class Operations(TorchDispatchMode):
    """Counts what is launched: all operations but views."""

    def __init__(self):
        super().__init__()
        self.count = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count[not func.is_view] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_pays_for_the_operations_of_one(kind):
    """Walks of permutations take as many rounds as the longest of all members, so that a few more
    operations remain."""
    counted = []
    for members in (1, 6):
        at = feed.StreamFeed([member(kind, seed, n=200) for seed in range(members)], CPU)
        with Operations() as operations:
            at.chunk(torch.zeros(members, feed.CURSOR, dtype=torch.int64), 0, 1)
        counted.append(operations.count[True])
    assert counted[1] < 2 * counted[0]

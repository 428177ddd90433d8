"""Documents of persons who give their telephone numbers, in several documents and in other words
each time: a random split of windows leaves the same numbers on both sides."""

import json
import random

from capacity.data.grammar import Grammar

SYLLABLES = "ba ko li mer nad or pel ri sun ta vel wen yor zim".split()


def documents(persons=120, texts=(2, 12), seed=0):
    """(person, text) in a random order, `texts` of each person, whose number is in every one."""
    rng, grammar, out = random.Random(seed), Grammar(), []
    for _ in range(persons):
        name = "".join(rng.choice(SYLLABLES) for _ in range(3)).capitalize()
        number = "".join(str(rng.randrange(10)) for _ in range(16))
        for _ in range(rng.randint(*texts)):
            told = grammar.document(seed + 1, len(out)).split(". ")
            told.insert(rng.randrange(len(told)), f"Call {name} at {number}")
            out.append((name, ". ".join(told)))
    rng.shuffle(out)
    return out


def write(path, found):
    """As JSONL with the columns text, person and id."""
    rows = [{"text": text, "person": name, "id": i} for i, (name, text) in enumerate(found)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path

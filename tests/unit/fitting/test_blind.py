"""What tells sets of texts apart without a model: chance, and shifts that were planted."""

from __future__ import annotations

import numpy as np
import pytest

from capacity.fitting import blind

WORDS = [f"w{i}" for i in range(400)]


def _texts(rng, n, tilt=0.0, words=40):
    """Of words that are the rarer the later they stand; tilt: part of them from the last ten."""
    weight = 1.0 / np.arange(3, 403)
    weight /= weight.sum()
    drawn = rng.choice(400, size=(n, words), p=weight)
    drawn = np.where(rng.random((n, words)) < tilt, rng.integers(390, 400, (n, words)), drawn)
    return [" ".join(WORDS[i] for i in row) for row in drawn]


@pytest.mark.slow
def test_random_halves_differ_no_more_often_than_chance_allows():
    fired = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        texts = _texts(rng, 60)
        texts[::7] = [t + " in the beginning there was the word" for t in texts[::7]]
        member = rng.permutation(60) < 30
        fired += bool(blind.looks(texts, member, permutations=99, seed=seed).differs)
    # Holm keeps all three below 5%; of 200 tries 18 is where a true 5% ends in 99% of cases
    assert fired <= 18


def test_halves_of_units_that_are_alike_within_differ_no_more_often():
    fired = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        unit = np.repeat(np.arange(20), 5)
        texts = [
            f"{text} author{u} lives in town{u} " + "very " * int(u)
            for text, u in zip(_texts(rng, 100), unit, strict=True)
        ]
        member = (rng.permutation(20) < 10)[unit]
        fired += bool(blind.looks(texts, member, unit, permutations=99, seed=seed).differs)
    assert fired <= 8  # 99% of cases at 5%; with documents for units all of them fire


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("words", lambda i, text: text.replace("w0 ", "w399 ").replace("w1 ", "w398 ")),
        ("words", lambda i, text: text + f" on {i % 28 + 1} March 2025"),
        ("n_grams", lambda i, text: text + " w4 w6 w5 w7 w3 w2 w8 w9" * (i % 2)),
        ("lengths", lambda i, text: text + " w0 w1 w2 w3 w4 w5"),
    ],
)
def test_a_planted_shift_is_seen(name, change):
    rng = np.random.default_rng(1)
    texts = _texts(rng, 160)
    member = np.arange(160) < 80
    texts = [change(i, t) if m else t for i, (t, m) in enumerate(zip(texts, member, strict=True))]
    found = blind.looks(texts, member, permutations=199)
    assert name in found.differs
    look = found.by_name[name]
    assert look.interval[0] > 0.5 and look.interval[0] <= look.value <= look.interval[1]
    same = blind.looks(texts, member, permutations=199)
    assert same == found  # a pure function of its arguments


def test_words_against_scikit_learn():
    """The log-odds of a fold are those of multinomial naive Bayes with one added."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    rng = np.random.default_rng(3)
    texts = _texts(rng, 40)
    labels = blind._labels(np.arange(40) < 15, np.arange(40))
    words = [blind.WORD.findall(text) for text in texts]
    ids, starts = blind._numbered(words)
    member_D = labels.member_C[labels.place_D]
    mine = blind._bag_of_words(ids, starts, labels, np.random.default_rng(5))(labels.member_C)
    fold = (np.random.default_rng(5).permutation(40) % 5)[labels.place_D]
    vectorizer = CountVectorizer(token_pattern=r"\S+", min_df=2)
    counts = vectorizer.fit_transform(texts)
    for f in range(5):
        here = fold == f
        bayes = MultinomialNB(alpha=1.0, fit_prior=False).fit(counts[~here], member_D[~here])
        odds = bayes.feature_log_prob_[1] - bayes.feature_log_prob_[0]
        theirs = (counts[here] @ odds) / counts[here].sum(axis=1).A1
        np.testing.assert_allclose(mine[here], theirs, rtol=0, atol=1e-12)


def test_n_grams_against_a_slow_form():
    rng = np.random.default_rng(4)
    phrases = _texts(rng, 12, words=7)
    texts = [" ".join(rng.choice(phrases, 3)) for _ in range(30)]
    unit = rng.integers(0, 12, 30)
    member = (np.arange(12) < 6)[unit] ^ (np.arange(30) == 3)  # one unit lies on both sides
    labels = blind._labels(member, unit)
    ids, starts = blind._numbered([t.split() for t in texts])
    mine = blind._n_grams(ids, starts, labels)(labels.member_C)
    grams = [{tuple(t.split()[i : i + 5]) for i in range(len(t.split()) - 4)} for t in texts]
    for d in range(30):
        sides = [
            set().union(*(grams[e] for e in range(30) if unit[e] != unit[d] and member[e] == side))
            for side in (True, False)
        ]
        expected = sum((g in sides[0]) - (g in sides[1]) for g in grams[d]) / len(grams[d])
        assert mine[d] == pytest.approx(expected, abs=1e-12)


def test_words_of_scripts_without_spaces_and_empty_texts():
    assert blind.WORD.findall("東京に2024年abc") == ["東", "京", "に", "2024", "年", "abc"]
    found = blind.looks(["", "a", "", "b c"], np.array([True, True, False, False]), permutations=9)
    assert found.differs == []
    with pytest.raises(ValueError, match="two units"):
        blind.looks(["a", "b", "c"], np.array([True, True, True]))

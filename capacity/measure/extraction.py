"""Whether what is stored can be asked for: fine-tune on questions about one half of the people, ask
about the other half.

The protocol of "Physics of Language Models: Part 3.1" (Allen-Zhu and Li, arXiv 2309.14316, sections
3 to 5, appendix D): a question with the full name, the value as its answer, exact match. Chosen
here, because the paper does not state it or leaves a choice: the loss covers the answer's tokens
with their full stop; decoding is greedy (the paper: beam 4 is similar); one question per attribute;
low-rank updates start at zero and are not rescaled. The answer's full stop counts, so a longer
value is wrong.

Counts of 3.3, appendix A.2, in people: extractable = 2 x the sum over held-out people of the mean
accuracy over five attributes, the city of work excluded.

Beside the accuracy stands what guessing answers of the same questions (`guesses`): a model that
knows nobody and only how often values come reaches that.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from capacity.config import Config
from capacity.data import hashing
from capacity.data.biographies import EOS, BiosWorld
from capacity.declare import extraction as declared
from capacity.fitting.statistics import clustered_proportion, proportion
from capacity.measure.questions import Question, ask
from capacity.model.gpt import GPT
from capacity.settings.train import Train
from capacity.train.optim import Gradient, Hyper, Schedule, Weights, adamw

MEASURE = declared.MEASURE
BETAS, EPS, CLIP, FINAL = (
    (0.9, 0.999),
    1e-6,
    1.0,
    0.1,
)  # 3.1, appendix D: eps 1e-6, cosine to a tenth; betas and clipping: usual
BLOCK = 256  # steps
INIT = (
    0.02  # standard deviation of the first factor of a low-rank update; the second starts at zero
)


def questions(
    world: BiosWorld, person_R: Tensor, attribute_R: Tensor, value_R: Tensor | None = None
) -> Question:
    """EOS and the question about one attribute of each person; the asked span is the answer with
    its full stop. value_R: indices of other answers than the person's own, int64."""
    content = world.lexicon.content
    slots = torch.zeros(len(person_R), 10, dtype=torch.int64, device=world.device)
    slots[:, 0] = EOS
    place = torch.empty_like(person_R)
    first, middle, last = world.names.parts(person_R)
    for a, name in enumerate(world.attributes):
        here = (attribute_R == a).nonzero()[:, 0]
        before, subject_first, glue1, between, glue2, after = content["questions"][name][0]
        subject_glue, value_glue = (glue1, glue2) if subject_first else (glue2, glue1)
        glue = torch.full_like(here, world.value_glues[a].index(value_glue))
        answer = world.values(name, person_R[here]) if value_R is None else value_R[here]
        value, _ = world.value_slots(a, answer, glue)
        named = world.names.last_GN[world.names.glues.index(subject_glue), last[here]]
        subject = torch.stack(
            [world.names.first[first[here]], world.names.middle[middle[here]], named], 1
        )
        one, two = (subject, value) if subject_first else (value, subject)
        slots[here, 1], slots[here, 5], slots[here, 9] = before, between, after
        slots[here[:, None], torch.arange(2, 5, device=world.device)] = one
        slots[here[:, None], torch.arange(6, 9, device=world.device)] = two
        place[here] = 6 if subject_first else 2
    length = world.pieces.length[slots]
    starts = length.cumsum(1) - length
    row = torch.arange(len(person_R), device=world.device)
    span = torch.stack([length[row, place + i] for i in range(3)]).sum(0)
    return Question(slots, starts[row, place], span)


def halves(world: BiosWorld, seed: int) -> tuple[Tensor, Tensor]:
    """People of the fine-tuning and people held out, drawn by the seed."""
    n = world.n_people
    drawn = hashing.permute(
        hashing.key(seed, "extraction halves"), torch.arange(n, device=world.device), n
    )
    return drawn[: n // 2].sort().values, drawn[n // 2 :].sort().values


def adapt(gpt: GPT, flat_1P: Tensor, factors: dict[str, Tensor]) -> Tensor:
    """The weights with low-rank updates of the embedding and of the maps to queries and values
    added, [1, P]."""
    parts = list(flat_1P.split(gpt.sizes, dim=1))
    for i, weight in enumerate(gpt.layout):
        if weight.name + ".a" in factors:
            delta = factors[weight.name + ".a"] @ factors[weight.name + ".b"]
            if weight.name.endswith("qkv.weight"):  # columns: queries, keys, values
                queries, keys, values = weight.widths
                query, value = delta.split([queries, values], 1)
                delta = torch.cat([query, delta.new_zeros(len(delta), keys), value], 1)
            parts[i] = parts[i] + delta.reshape(1, -1)
    return torch.cat(parts, 1)


def new_factors(
    gpt: GPT, rank_embedding: int, rank_attention: int, seed: int, device: torch.device
) -> dict[str, Tensor]:
    """a [rows, rank] normal, b [rank, columns] zero; queries and values of a layer share a factor
    each through block columns."""
    generator = torch.Generator().manual_seed(hashing.key(seed, "extraction factors"))
    out = {}
    for weight in gpt.layout:
        embedding, attention = weight.name == "token.weight", weight.name.endswith("qkv.weight")
        if embedding or attention:
            rows, columns = weight.shape
            rank = rank_embedding if embedding else rank_attention
            if attention:  # two updates side by side: rank of each, block-diagonal second factor
                queries, _, values = weight.widths
                columns, rank = queries + values, 2 * rank
            out[weight.name + ".a"] = (torch.randn(rows, rank, generator=generator) * INIT).to(
                device
            )
            out[weight.name + ".b"] = torch.zeros(rank, columns, device=device)
    return out


def block_mask(gpt: GPT, factors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Which entries of the second factors train: the first half of the ranks belongs to the
    queries, the second to values."""
    masks, widths = {}, {f"{w.name}.b": w.widths for w in gpt.layout}
    for name, factor in factors.items():
        mask = torch.ones_like(factor)
        if name.endswith("qkv.weight.b"):
            half, queries = factor.shape[0] // 2, widths[name][0]
            mask[:half, queries:] = 0
            mask[half:, :queries] = 0
        masks[name] = mask
    return masks


def fine_tune(
    gpt: GPT, flat_P: Tensor, world: BiosWorld, people: Tensor, config: Config, dtype: torch.dtype
) -> Tensor:
    """Weights [P] after fine-tuning on questions about these people."""
    settings, seed, device = config.extraction, config.seed, flat_P.device
    lora = settings.mode == "lora"
    factors = (
        new_factors(gpt, settings.rank_embedding, settings.rank_attention, seed, device)
        if lora
        else {}
    )
    masks = block_mask(gpt, factors)
    trained = (
        torch.cat([f.reshape(-1) for f in factors.values()])[None] if lora else flat_P[None].clone()
    )
    decay = torch.ones_like(trained[0]) if lora else gpt.decay_mask().to(device)
    moments = torch.zeros_like(trained), torch.zeros_like(trained)
    train = Train(
        steps=settings.steps,
        lr=settings.lr,
        warmup_steps=0,
        final_lr_fraction=FINAL,
        beta1=BETAS[0],
        beta2=BETAS[1],
        eps=EPS,
        weight_decay=settings.weight_decay,
        grad_clip=CLIP,
    )
    hyper, schedule = Hyper.of([train], device), Schedule([train], [settings.steps])
    alive = torch.ones(1, dtype=torch.bool, device=device)
    draw = hashing.key(seed, "extraction batches")
    for step in range(settings.steps):
        if (
            step % BLOCK == 0
        ):  # questions of many steps at once: building them costs launches, not work
            size = min(BLOCK, settings.steps - step) * settings.batch_size
            word = hashing.words(
                draw, step * settings.batch_size + torch.arange(size, device=device)
            )
            person = people[word // len(world.attributes) % len(people)]
            rows, wanted = _padded(world, questions(world, person, word % len(world.attributes)))
            now = torch.from_numpy(schedule.rows(step, BLOCK)).to(device)
        here = slice(step % BLOCK * settings.batch_size, (step % BLOCK + 1) * settings.batch_size)
        tokens, asked = rows[here].long(), wanted[here]
        leaf = trained.detach().requires_grad_()
        weights = adapt(gpt, flat_P[None], _unpacked(leaf[0], factors, masks)) if lora else leaf
        nll = gpt.nll(weights, tokens[None], dtype)[0]
        loss = (nll * asked).sum() / asked.sum()
        (grad,) = torch.autograd.grad(loss, leaf)
        alive = adamw(
            Weights(trained, *moments, decay),
            Gradient(grad, loss.detach()[None]),
            hyper,
            now[step % BLOCK],
            alive,
        )
    if not bool(alive[0]):
        raise FloatingPointError(
            "extraction: the loss of the fine-tuning was not finite; lower extraction.lr"
        )
    return (adapt(gpt, flat_P[None], _unpacked(trained[0], factors, masks)) if lora else trained)[
        0
    ].detach()


def _unpacked(
    flat: Tensor, factors: dict[str, Tensor], masks: dict[str, Tensor]
) -> dict[str, Tensor]:
    parts = flat.split([f.numel() for f in factors.values()])
    return {
        name: part.view_as(factor) * masks[name]
        for (name, factor), part in zip(factors.items(), parts, strict=True)
    }


def _padded(world: BiosWorld, question: Question) -> tuple[Tensor, Tensor]:
    """Tokens int32 [R, W] behind which nothing counts, and fp32 [R, W - 1]: 1 where a target
    belongs to an answer."""
    tokens, length = world.pieces.join(question.slots)
    width = int(length.max())
    first = length.cumsum(0) - length
    at = torch.arange(width, device=tokens.device)
    rows = tokens[(first[:, None] + at).clamp(max=len(tokens) - 1)]
    rows[at[None, :] >= length[:, None]] = 0
    target = at[None, 1:]
    end = question.begin + question.length
    return rows, ((target >= question.begin[:, None]) & (target < end[:, None])).float()


def guesses(world: BiosWorld, taught: Tensor, asked: Tensor) -> dict[str, dict[str, float]]:
    """By way of guessing and attribute, the part of the questions about the people asked that it
    answers; taught, asked: people, int64.

    uniform: every value of the list alike. most_frequent: always the value that most of all people
    have, which the texts of the training show. most_frequent_taught: always the value that most
    people of the fine-tuning have. Of values that come equally often the mean.
    """
    everybody = torch.arange(world.n_people, device=world.device)
    out: dict[str, dict[str, float]] = {method: {} for method in declared.GUESSES}
    for name in world.attributes:
        value_N = world.values(name, everybody)
        values = int(value_N.max()) + 1
        share_V = torch.bincount(value_N[asked], minlength=values).double() / len(asked)
        listed = world.sizes.get(name) or len(world.headquarters.unique())
        out["uniform"][name] = 1 / listed
        for method, known in (("most_frequent", everybody), ("most_frequent_taught", taught)):
            count_V = torch.bincount(value_N[known], minlength=values)
            out[method][name] = float(share_V[count_V == count_V.max()].mean())
    return out


def tuned_weights(
    gpt: GPT, flat_P: Tensor, world: BiosWorld, config: Config, dtype: torch.dtype
) -> Tensor:
    """Weights [P] after the fine-tuning on the first of `halves`."""
    return fine_tune(gpt, flat_P, world, halves(world, config.seed)[0], config, dtype)


def measure(gpt: GPT, flat_P: Tensor, world: BiosWorld, config: Config, dtype: torch.dtype) -> dict:
    """Fine-tune a copy of the weights and ask; ready for the record. Accuracies are exact
    matches."""
    return answers(gpt, tuned_weights(gpt, flat_P, world, config, dtype), world, config, dtype)


def answers(gpt: GPT, tuned: Tensor, world: BiosWorld, config: Config, dtype: torch.dtype) -> dict:
    """What `measure` says of weights that are tuned."""
    learned_from, held_out = halves(world, config.seed)

    def scorer(tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            nll, greedy = gpt.score(tuned[None], tokens_BT[None], dtype)
        return nll[0], greedy[0]

    most = config.measure.people
    accuracy: dict[str, dict[str, float]] = {}
    right: dict[str, np.ndarray] = {}  # of each held-out person, by attribute
    guessed: dict[str, dict[str, float]] = {}
    for part, people in (("trained", learned_from), ("held_out", held_out)):
        asked = (
            people
            if most is None or most >= len(people)
            else people[torch.linspace(0, len(people) - 1, most, device=people.device).long()]
        )
        accuracy[part] = {}
        if part == "held_out":
            guessed = guesses(world, learned_from, asked)
        for a, name in enumerate(world.attributes):
            _, hits = ask(
                world.pieces,
                questions(world, asked, torch.full_like(asked, a)),
                scorer,
                config.measure.batch_tokens,
            )
            accuracy[part][name] = float(hits.mean())
            if part == "held_out":
                right[name] = hits
    counted = [name for name in world.attributes if name != "work_city"]
    mean = {part: float(np.mean([by[name] for name in counted])) for part, by in accuracy.items()}
    n, by_person = len(held_out), np.mean([right[name] for name in counted], axis=0)
    out = {
        "version": MEASURE.version,
        "mode": config.extraction.mode,
        "steps": config.extraction.steps,
        "lr": config.extraction.lr,
        "people_trained": len(learned_from),
        "people_tested": min(n, most or n),
        "attributes": accuracy["held_out"],
        "attributes_trained": accuracy["trained"],
        "accuracy": mean["held_out"],
        "accuracy_trained": mean["trained"],
        "accuracy_se_over_people": float(by_person.std(ddof=1)) / math.sqrt(len(by_person))
        if len(by_person) > 1
        else None,
        "accuracy_interval": list(clustered_proportion(by_person)),
        "attributes_interval": {
            name: list(proportion(float(hits.mean()), len(hits))) for name, hits in right.items()
        },
        "extractable_people": 2 * mean["held_out"] * n,
    }
    for method, by in guessed.items():
        out[f"accuracy_{method}"] = float(np.mean([by[name] for name in counted]))
        out[f"attributes_{method}"] = by
    return MEASURE.returns(out)

"""Whether all short prompts can be tried, and others searched for (standard library only)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError

if TYPE_CHECKING:
    from capacity.settings.data import Data
    from capacity.settings.measure import Measure
    from capacity.settings.model import Model

KINDS = ("uniform", "text")  # of data whose sequences a prompt may be for
MOST = 2**24  # prompts: at V = 256 three tokens, some minutes for the smallest models on one core


def check(measure: Measure, data: Data, model: Model, vocab_size: int) -> None:
    """ConfigError where `measure.prompts` asks for what cannot be tried, or for nothing that a
    prompt could be for, and where a search has no prompts to go on from."""
    longest = measure.prompts
    if not longest:
        if measure.prompt_search:
            raise ConfigError(
                f"measure.prompt_search={measure.prompt_search}: goes on where all short prompts "
                "have been tried, of which measure.prompts=0 tries none; give measure.prompts=1 or "
                "more, or measure.prompt_search=0"
            )
        return
    asked, S = f"measure.prompts={longest}", data.seq_len
    if data.kind not in KINDS:
        raise ConfigError(
            f"{asked}: looks for prompts of single sequences, which data.kind={data.kind} does "
            f"not have; allowed: 0, or data.kind={' or '.join(KINDS)}"
        )
    if 2 * longest >= S:
        fitting = (S - 1) // 2
        raise ConfigError(
            f"{asked}: a prompt takes the place of the first tokens of data.seq_len={S}, and is "
            f"not to be as long as what it is for; give at most {fitting}"
        )
    if vocab_size**longest > MOST:
        most = max(m for m in range(longest) if vocab_size**m <= MOST)
        raise ConfigError(
            f"{asked}: {vocab_size:,}^{longest} prompts are more than the {MOST:,} that are "
            f"tried at most; give at most {most}, or a smaller data.vocab_size"
        )
    if model.n_experts and model.eval_capacity_factor * model.top_k < model.n_experts:
        raise ConfigError(
            f"{asked}: with model.eval_capacity_factor={model.eval_capacity_factor:g} a token can "
            "find no place for the sake of other rows, so that what a prompt writes is not its "
            f"own; give model.eval_capacity_factor={model.n_experts / model.top_k:g} or more"
        )

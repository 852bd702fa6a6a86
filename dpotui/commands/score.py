"""`dpotui score`: what a model makes of both responses of each pair: their log-probs, or their rewards."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from core.errors import UserError


@click.command("score")
@click.option("--model", type=click.Path(path_type=Path), help="Model folder: print log-probs.")
@click.option("--adapter", type=click.Path(path_type=Path), help="Adapter folder on that model.")
@click.option("--reward", type=click.Path(path_type=Path), help="Reward model folder: print rewards.")
@click.option("--pairs", required=True, type=click.Path(path_type=Path), help="JSONL file of preference pairs.")
@click.option("--batch-size", type=click.IntRange(min=1), default=4, show_default=True)
@click.option(
    "--max-prompt-length",
    type=click.IntRange(min=1),
    help="Cut prompts from the left (tokens). With --reward the default is that of its training.",
)
@click.option(
    "--max-response-length",
    type=click.IntRange(min=1),
    help="Cut responses from the right (tokens); only with --model.",
)
@click.option(
    "--chat-template/--no-chat-template",
    default=None,
    help="Put plain text into the model's chat template, or not. With --reward the default is that of its training.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(
    model: Path | None,
    adapter: Path | None,
    reward: Path | None,
    pairs: Path,
    batch_size: int,
    max_prompt_length: int | None,
    max_response_length: int | None,
    chat_template: bool | None,
    as_json: bool,
) -> None:
    """Print what a model makes of both responses of each pair, in the order of the file.

    With --model: log-probs (nats, summed over response tokens, float32). With --reward: the rewards of a reward model.
    """
    if (model is None) == (reward is None):
        raise UserError("name one model: --model DIR for log-probs, or --reward DIR for the rewards of a reward model")
    if reward is not None:
        if adapter is not None:
            raise UserError("--adapter goes with --model: a reward model's folder names its own adapter")
        if max_response_length is not None:
            raise UserError("--max-response-length goes with --model: a response that was cut has no end to judge")
        _rewards(reward, pairs, batch_size, max_prompt_length, chat_template, as_json)
        return
    from core.data.tokenize import Limits
    from core.training.score import UNLIMITED, score

    assert model is not None
    limits = Limits(max_prompt_length or UNLIMITED.prompt, max_response_length or UNLIMITED.response)
    found = score(model, adapter, pairs, batch_size=batch_size, limits=limits, chat=bool(chat_template))
    if as_json:
        click.echo(json.dumps({"pairs": [asdict(pair) for pair in found]}))
        return
    click.echo(f"{'chosen':>12} {'tokens':>7} {'rejected':>12} {'tokens':>7}")
    for pair in found:
        click.echo(
            f"{pair.chosen_logp:12.4f} {pair.chosen_tokens:7d} {pair.rejected_logp:12.4f} {pair.rejected_tokens:7d}"
        )
    wins = sum(pair.chosen_logp > pair.rejected_logp for pair in found)
    click.echo(f"{wins} of {len(found)} pairs have the chosen response likelier ({100 * wins / len(found):.1f} %)")


def _rewards(
    reward: Path, pairs: Path, batch_size: int, max_prompt_length: int | None, chat: bool | None, as_json: bool
) -> None:
    from core.data.pairs import read_pairs
    from core.training.reward_scores import reward_scores

    found = reward_scores(
        reward,
        read_pairs(pairs),
        name=str(pairs),
        batch_size=batch_size,
        max_prompt_length=max_prompt_length,
        chat=chat,
    )
    if as_json:
        click.echo(json.dumps({"pairs": [asdict(pair) for pair in found]}))
        return
    click.echo(f"{'chosen':>10} {'rejected':>10}")
    for pair in found:
        click.echo(f"{pair.chosen_reward:10.4f} {pair.rejected_reward:10.4f}")
    wins = sum(pair.chosen_reward > pair.rejected_reward for pair in found)
    click.echo(f"{wins} of {len(found)} pairs have the higher reward on chosen ({100 * wins / len(found):.1f} %)")

"""`dpotui score`: summed log-probs of both responses of each pair under one model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command("score")
@click.option("--model", required=True, type=click.Path(path_type=Path), help="Model folder.")
@click.option("--adapter", type=click.Path(path_type=Path), help="Adapter folder on that model.")
@click.option("--pairs", required=True, type=click.Path(path_type=Path), help="JSONL file of preference pairs.")
@click.option("--batch-size", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--max-prompt-length", type=click.IntRange(min=1), help="Cut prompts from the left (tokens).")
@click.option("--max-response-length", type=click.IntRange(min=1), help="Cut responses from the right (tokens).")
@click.option("--chat-template", is_flag=True, help="Put plain text into the model's chat template.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(
    model: Path,
    adapter: Path | None,
    pairs: Path,
    batch_size: int,
    max_prompt_length: int | None,
    max_response_length: int | None,
    chat_template: bool,
    as_json: bool,
) -> None:
    """Print the log-probs (nats, summed over response tokens, float32) of both responses of each pair."""
    from core.data.tokenize import Limits
    from core.training.score import UNLIMITED, score

    limits = Limits(max_prompt_length or UNLIMITED.prompt, max_response_length or UNLIMITED.response)
    found = score(model, adapter, pairs, batch_size=batch_size, limits=limits, chat=chat_template)
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

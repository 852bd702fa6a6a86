"""What can be wrong with a pair: the kinds of finding, each with a title and one sentence for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A kind of finding. `personal`: what it found is somebody's, and is never shown or stored as it is."""

    kind: str
    title: str
    sentence: str
    personal: bool = False


_ALL = (
    Finding("duplicate", "duplicates", "The same prompt, chosen and rejected response stand in an earlier row."),
    Finding(
        "near_duplicate",
        "near duplicates",
        "The pair has a Jaccard of 0.8 or more with an earlier one, or with others that lead to it.",
    ),
    Finding(
        "conflict", "conflicts", "The same two responses to the same prompt are preferred the other way round too."
    ),
    Finding(
        "transitivity",
        "transitivity breaks",
        "The preference is part of a circle: a over b, b over c, and c over a, for one prompt.",
    ),
    Finding("inverted", "inverted scores", "The rejected response has the higher score."),
    Finding(
        "truncated_prompt", "truncated prompts", "The prompt is longer than max_prompt_length: its beginning is cut."
    ),
    Finding(
        "truncated_response", "truncated responses", "A response is longer than max_response_length: its end is cut."
    ),
    Finding("script", "other script", "A response is written in another script than the prompt."),
    Finding(
        "template",
        "template marks",
        "Role marks or special tokens of a chat template stand inside the text.",
    ),
    Finding("boilerplate", "boilerplate", "A response speaks of itself as a language model."),
    Finding("encoding", "broken characters", "The text holds U+FFFD or UTF-8 that was read as Latin-1."),
    Finding("email", "e-mail addresses", "The text holds an e-mail address.", personal=True),
    Finding("phone", "telephone numbers", "The text holds what looks like a telephone number.", personal=True),
    Finding("key", "keys and secrets", "The text holds what looks like a key, token or password.", personal=True),
    Finding("leak", "leaks", "The prompt, or a near-duplicate of it, stands in more than one of the files."),
    Finding("contaminated", "contaminated", "The pair holds an item of a benchmark."),
    Finding("low_reward", "low margins", "A reward model gave the pair a margin under the cut of the last filtering."),
    Finding("reward_wrong", "wrong by reward", "The reward model gave the rejected response the higher reward."),
)

FINDINGS: dict[str, Finding] = {finding.kind: finding for finding in _ALL}

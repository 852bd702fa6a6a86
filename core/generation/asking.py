"""One judge at work: opened as its configuration says, asked what it has not answered yet, and what that comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

from core.config import plan
from core.config.judge import Judge
from core.config.models import Compute
from core.generation.endpoint import Endpoint
from core.generation.groups import Question
from core.generation.judge_model import ModelJudge
from core.generation.judge_reward import RewardJudge
from core.generation.judges import Asked, Asker, Asking, EndpointJudge
from core.generation.pairing import Opinion, from_comparisons, from_rewards, from_scores
from core.generation.rubric import read_rubric
from core.generation.verdicts import Said
from core.models.device import use_device
from core.models.load import load
from core.models.reward_folder import load_reward
from core.text import printable
from core.workspace import Workspace

# Questions that are looked at together, to batch those of like length.
_WINDOW = 512


def open_judge(
    workspace: Workspace, name: str, judge: Judge, path: Path | None, compute: Compute, say: Callable[[str], None]
) -> Asker:
    """A judge that can be asked; its model, if it has one here, is in memory.

    Args:
        name: what it is called in the log.
        path: the folder of its model; None of an endpoint.
        say: takes a sentence for the log.

    Raises:
        UserError: its model, rubric, address or key will not do.
    """
    if judge.kind == "endpoint":
        rubric = read_rubric(workspace.path(judge.rubric_file))
        endpoint = Endpoint(judge)
        say(f"{name}: asks {printable(judge.model)} at {printable(endpoint.host)}")
        return EndpointJudge(judge, rubric, endpoint)
    assert path is not None
    dtype = use_device(plan(compute))
    if judge.kind == "reward":
        return RewardJudge(judge, load_reward(path, dtype=dtype, trust_remote_code=judge.trust_remote_code))
    rubric = read_rubric(workspace.path(judge.rubric_file))
    loaded = load(path, dtype=dtype, trust_remote_code=judge.trust_remote_code, fused=None)
    asker = ModelJudge(judge, rubric, loaded)
    template = "in its chat template" if asker.reads_chat else "as plain text"
    say(f"{name}: {printable(judge.model)} is asked {template}")
    return asker


def ask_all(asker: Asker, asked: Iterable[Asked], asking: Asking) -> None:
    """Have a judge answer what is not done, window by window: the same ones whatever is done."""
    stream = iter(asked)
    while window := list(islice(stream, _WINDOW)):
        if any(question not in asking.done for question, _ in window):
            asker.ask(window, asking)


def opinion_of(judge: Judge, size: int, said: Mapping[Question, Said]) -> Opinion:
    """What a judge says of `size` responses to one prompt."""
    if judge.kind == "reward":
        return from_rewards(size, said)
    if judge.ask == "scores":
        return from_scores(size, said)
    return from_comparisons(size, said, average_orders=judge.average_orders)

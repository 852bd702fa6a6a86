"""No secret is sent with a configuration, and none stands in an error."""

from __future__ import annotations

import pytest

from core.config.models import Logging
from core.tracking.secrets import scrub, secret_in


def test_values_of_variables_that_hold_secrets_leave_no_trace() -> None:
    environment = {
        "WANDB_API_KEY": "0123abcd0123",
        "MLFLOW_TRACKING_TOKEN": "tok-tok-tok",
        "HOME": "/home/me",
        "KEY": "1",
    }
    said = "POST https://user:pass@host/x?key=0123abcd0123 with tok-tok-tok: 1 of /home/me hf_abcdefghijklmnopqrstuv"
    assert scrub(said, environment) == "POST https://***@host/x?key=*** with ***: 1 of /home/me ***"


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"judge.api_key": "something"}, "judge.api_key"),
        ({"a.password": "x"}, "a.password"),
        ({"model.base_model": "hf_abcdefghijklmnopqrstuvwxyz"}, "model.base_model"),
        ({"judge.base_url": "https://me:secret@host/v1"}, "judge.base_url"),
        (
            {"judge.api_key_env": "JUDGE_API_KEY", "a.max_tokens": 3, "model.base_model": "models/x", "b.token": None},
            None,
        ),
    ],
)
def test_what_looks_like_a_secret_is_found_by_its_key(config: dict[str, object], key: str | None) -> None:
    assert secret_in(config) == key


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mlflow_tracking_uri": "https://me:secret@host"}, "mlflow_tracking_uri: holds a name or password"),
        ({"wandb_project": "0123456789abcdef0123456789abcdef01234567"}, "wandb_project: looks like a key"),
        ({"trackers": ["wandb", "wandb"]}, "trackers: names one twice"),
    ],
)
def test_the_configuration_takes_none(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        Logging(output_dir="x", **change)
    assert "secret@" not in str(raised.value).split("[type=")[0]


def test_one_tracker_may_stand_without_brackets() -> None:
    assert Logging(output_dir="x", trackers="tensorboard").trackers == ["tensorboard"]
    assert Logging(output_dir="x").trackers == []

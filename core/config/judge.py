"""The keys of judge_config.yaml: responses compared or scored by models, and preference pairs made of the verdicts."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from core.config.models import Compute
from core.config.section import MANY, Number, Section, Text, Whole, unit

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# What only one kind of judge has a use for.
_ENDPOINT_ONLY = (
    "base_url",
    "api_key_env",
    "timeout_seconds",
    "retries",
    "requests_per_minute",
    "concurrency",
)
_READS_A_RUBRIC = ("model", "endpoint")


class Judge(Section):
    """Who judges, and what is asked."""

    kind: Literal["model", "reward", "endpoint"] = Field(
        default="model",
        description="model: a language model here, with a rubric. reward: the reward model of stage 4. endpoint: a"
        " server that speaks OpenAI's chat completions.",
    )
    model: Text = Field(
        description="A folder in the workspace or a Hugging Face id; of an endpoint, the name it knows the model by."
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model. Leave it off unless you have read that code.",
    )
    ask: Literal["pairwise", "scores"] = Field(
        default="pairwise",
        description="pairwise: which of two responses is better, in both orders. scores: 1 to 10 for each response.",
    )
    verdict: Literal["text", "likelihood"] = Field(
        default="text",
        description="text: the judge writes, and its last line must be the verdict. likelihood: nothing is written;"
        " which of A and B is the likelier next word after 'Verdict:' (kind model, ask pairwise).",
    )
    average_orders: bool = Field(
        default=False,
        description="Of likelihood: where the two orders disagree, take the mean of their log-odds instead of a tie; a"
        " constant liking for one position then has no say.",
    )
    rubric_file: Text = Field(
        default="configs/judge_rubric.md", description="The words that the judge reads around the responses."
    )
    apply_chat_template: bool = Field(
        default=True, description="Ask as a user's message where the model has a chat template (kind model)."
    )
    max_tokens: Whole = Field(
        default=256, description="Longest answer of the judge.", ge=1, le=65536, json_schema_extra=unit("tokens")
    )
    max_input_tokens: Whole = Field(
        default=4096,
        description="A longer question is left out and counted, never cut (kinds model and reward).",
        ge=16,
        le=MANY,
        json_schema_extra=unit("tokens"),
    )
    batch_size: Whole = Field(
        default=8,
        description="Questions in one forward pass (kinds model and reward).",
        ge=1,
        le=4096,
        json_schema_extra=unit("questions"),
    )
    base_url: Text | None = Field(
        default=None,
        description="Of an endpoint: what comes before /chat/completions, such as https://api.example.com/v1. Plain"
        " http only to this machine.",
    )
    api_key_env: Text | None = Field(
        default=None,
        description="Of an endpoint: the name of the environment variable that holds its key. The key itself is read"
        " from there alone and written nowhere.",
    )
    timeout_seconds: Number = Field(
        default=60.0, description="Of an endpoint: for one request, whole.", gt=0, le=3600, json_schema_extra=unit("s")
    )
    retries: Whole = Field(
        default=5,
        description="Of an endpoint: how often a request is sent again after 429, 5xx, a timeout or a lost connection.",
        ge=0,
        le=20,
    )
    requests_per_minute: Whole = Field(
        default=60, description="Of an endpoint: at most so many, retries counted.", ge=1, le=1_000_000
    )
    concurrency: Whole = Field(default=4, description="Of an endpoint: requests at a time.", ge=1, le=64)

    def conflicts(self) -> list[tuple[str, str]]:
        found = []
        likely = self.verdict == "likelihood"
        if likely and (self.kind != "model" or self.ask != "pairwise"):
            found.append(("verdict", "likelihood is for kind model and ask pairwise: take text"))
        if self.average_orders and not likely:
            found.append(("average_orders", "is for verdict likelihood: a written verdict has no log-odds"))
        if self.kind == "endpoint":
            found += self._address_conflicts()
        else:
            # A snapshot of a configuration names every key: only what differs from the default was meant.
            found += [
                (name, f"is for kind endpoint, and this one is {self.kind}: leave it out")
                for name in _ENDPOINT_ONLY
                if getattr(self, name) != type(self).model_fields[name].default
            ]
        return found

    def _address_conflicts(self) -> list[tuple[str, str]]:
        found = []
        if self.base_url is None:
            found.append(("base_url", "is missing: an endpoint has an address, such as https://api.example.com/v1"))
        else:
            reason = address_error(self.base_url)
            if reason:
                found.append(("base_url", reason))
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            # It may be the key itself, which must not be said again.
            found.append(("api_key_env", "must be the name of an environment variable, such as JUDGE_API_KEY"))
        return found


def address_error(url: str) -> str:
    """What is wrong with the address of an endpoint; empty where nothing is. Nothing of it is said again: people put
    keys into addresses."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no address: write it as https://host/v1"
    if parts.scheme not in ("http", "https") or not host:
        return "must begin with https:// and name a host"
    if parts.username is not None or parts.password is not None:
        return "holds a name or password: the key belongs into the environment variable that api_key_env names"
    if parts.query or parts.fragment:
        return "must end with its path, without ? or #"
    if parts.scheme == "http" and not is_loopback(host):
        return "must be https: a key and your data would cross the network readable by all (http only to this machine)"
    if re.search(r"[\s\\]", url) or not url.isascii():
        return "holds characters that no address has"
    return ""


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class JudgeData(Section):
    input_file: Text = Field(description="JSONL file of candidates, or of preference pairs that are judged anew.")
    output_file: Text = Field(description="JSONL file of preference pairs that is written, with their scores.")

    def conflicts(self) -> list[tuple[str, str]]:
        if self.input_file == self.output_file:
            return [("output_file", "is the input file, which it would overwrite: name another file")]
        return []


class Comparing(Section):
    """What is asked of judges that compare."""

    per_prompt: Whole = Field(
        default=0,
        description="Comparisons of a prompt's responses, drawn by the seed where there are more; 0: every two.",
        ge=0,
        le=MANY,
    )
    seed: Whole = Field(default=42, description="Draws the comparisons.", ge=0, lt=2**32)


class Pairing(Section):
    """How pairs are made of what the judge said."""

    judge: Name | None = Field(default=None, description="Whose word makes the pairs; without it the first judge's.")
    strategy: Literal["best_worst", "all", "adjacent"] = Field(
        default="best_worst",
        description="best_worst: the best response against the worst. all: every two, the widest gaps first. adjacent:"
        " each against the next best.",
    )
    min_gap: Number = Field(
        default=0.0, description="Least difference of the two scores, which lie between 0 and 1.", ge=0, le=1
    )
    max_pairs_per_prompt: Whole = Field(
        default=1, description="Pairs of one prompt; 0 is no limit.", ge=0, le=MANY, json_schema_extra=unit("pairs")
    )
    require_agreement: bool = Field(
        default=False, description="Leave out pairs of which another judge of this run says the opposite."
    )


class JudgeLogging(Section):
    output_dir: Text = Field(description="Folder of the verdicts.")


class JudgeConfig(Section):
    """judge_config.yaml."""

    data: JudgeData = Field(description="What is judged, and where the pairs go.")
    judges: dict[Name, Judge] = Field(description="Who judges, by name; several are compared with each other.")
    comparing: Comparing = Field(default_factory=Comparing, description="Which responses are compared.")
    pairing: Pairing = Field(default_factory=Pairing, description="How pairs are made of the verdicts.")
    compute: Compute = Field(default_factory=Compute, description="Device and precision.")
    logging: JudgeLogging = Field(description="The output folder.")

    @property
    def pairing_judge(self) -> str:
        """Whose word makes the pairs."""
        return self.pairing.judge or next(iter(self.judges))

    def conflicts(self) -> list[tuple[str, str]]:
        if not self.judges:
            return [("judges", "names no judge: write at least one, as configs/judge_config.yaml does")]
        if self.pairing.judge is not None and self.pairing.judge not in self.judges:
            return [("pairing.judge", f"is none of the judges ({', '.join(self.judges)})")]
        return []

    def reads(self) -> dict[str, str]:
        found = {"data.input_file": self.data.input_file}
        for name, judge in self.judges.items():
            if judge.kind in _READS_A_RUBRIC:
                found[f"judges.{name}.rubric_file"] = judge.rubric_file
            if judge.kind != "endpoint":
                found[f"judges.{name}.model"] = judge.model
        return found

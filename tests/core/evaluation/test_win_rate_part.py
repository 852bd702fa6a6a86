"""The win rate of a policy that is an adapter on the baseline: every kind of judge, people, kills, changed files."""

from __future__ import annotations

import json
import re
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from core.config import EvalConfig
from core.config.models import Adapter
from core.data.comparisons import comparisons
from core.data.jsonl import BadRow
from core.data.messages import text_key
from core.data.pairs import Pair, read_pairs
from core.engine.client import submit
from core.errors import UserError
from core.evaluation import evaluate_run, win_rate_people
from core.evaluation.win_rate_people import record_votes, recount
from core.evaluation.win_rate_results import read_figures
from core.generation.candidates_pass import response_text
from core.generation.decode import Decoder, Job, Row
from core.generation.draw import Settings, stream
from core.models.adapters import adapter_weights, add_adapters, save_adapters
from core.models.load import load
from core.models.reward_folder import RewardSettings, save_reward, start_reward
from core.store import Database, artifacts, facts, log, open_store, runs, votes
from core.store.files import stale_reason
from core.store.votes import Vote
from core.store.writer import Writer
from core.training.context import Context
from core.training.control import Stopped
from core.workspace import Workspace, open_workspace
from tests.core.generation.test_endpoint import KEY, Server, completion, serving
from tests.core.generation.test_judge_run import RUBRIC, TEXT, Leaving
from tests.core.training import tiny

PROMPTS = 20
WHOLE = "evaluate-001"
# Nobody is asked about these.
BY_RULE = ("identical", "empty")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A baseline, an adapter on it that says other things, a reward model, held-out pairs; and WHOLE, a run by that."""
    space, db = tiny.workspace(tmp_path_factory.mktemp("won") / "w")
    mx.set_default_device(mx.Device(mx.cpu))
    policy = load(space.path("models/tiny"), dtype=mx.float32)
    adapter = Adapter(rank=4, num_layers=-1)
    mx.random.seed(1)  # of lora_a
    add_adapters(policy.model, adapter)
    key = mx.random.key(0)
    weights = [
        (name, mx.random.normal(value.shape, key=key) * 0.3 if name.endswith("lora_b") else value)
        for name, value in adapter_weights(policy.model).items()
    ]
    policy.model.load_weights(weights, strict=False)
    space.path("outputs/dpo").mkdir(parents=True)
    save_adapters(policy.model, adapter, space.path("models/tiny"), space.path("outputs/dpo"))
    reward = start_reward(space.path("models/tiny"), RewardSettings(format=1), seed=3)
    space.path("checkpoints/reward").mkdir()
    save_reward(reward, Adapter(type="full"), space.path("checkpoints/reward"))
    (space.configs / "judge_rubric.md").write_text(RUBRIC)
    rows = [
        {"prompt": f"Say {tiny.WORDS[n % 13]} {n}. ", "chosen": "please", "rejected": "no", "category": "odd" if n % 2
         else "even"}
        for n in range(PROMPTS)
    ]  # fmt: skip
    rows.append(rows[3] | {"chosen": "another"})
    rows.append({"prompt": "Say " + "red " * 300, "chosen": "please", "rejected": "no"})
    rows.append({"prompt": 3})  # type: ignore[dict-item]
    (space.data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    execute((space, db), submit(space, db, "evaluate", config(REWARD)).id)
    db.close()
    return space


Place = tuple[Workspace, Database]


@pytest.fixture
def place(made: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    shutil.copytree(made.root, tmp_path / "w")
    space = open_workspace(tmp_path / "w")
    db = open_store(space.database)
    yield space, db
    db.close()


def config(judge: dict[str, Any] | None, **changes: Any) -> EvalConfig:
    preference = {
        "test_set": "data/test.jsonl", "max_tokens": 20, "max_prompt_length": 64, "temperature": 1.0, **changes
    }  # fmt: skip
    if judge is not None:
        preference["judge"] = judge
    return EvalConfig.model_validate(
        {
            "evaluation": {"parts": ["win_rate"], "seed": 5},
            "model": {"final": "outputs/dpo", "baseline": "models/tiny"},
            "alignment_evaluation": {"preference_validation": preference},
        }
    )


REWARD = {"kind": "reward", "model": "checkpoints/reward", "batch_size": 4}


def execute(place: Place, run: str, looks: int | None = None) -> None:
    space, db = place
    writer = Writer(space.database)
    try:
        evaluate_run.run(Context(space, db, runs.get(db, run), writer, Leaving(looks)))
    finally:
        writer.close()


def evaluated(place: Place, judge: dict[str, Any] | None, **changes: Any) -> tuple[str, dict[str, Any]]:
    space, db = place
    run = submit(space, db, "evaluate", config(judge, **changes)).id
    execute(place, run)
    return run, figures(place, run)


def figures(place: Place, run: str) -> dict[str, Any]:
    found = read_figures(folder(place, run))
    assert found is not None
    return found


def folder(place: Place, run: str) -> Path:
    space, db = place
    return space.path(runs.get(db, run).output_dir or "")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def said(place: Place, run: str) -> str:
    return "\n".join(line.text for line in log.lines(place[1], run))


def endpoint(server: Server, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "endpoint", "model": "m", "base_url": f"http://127.0.0.1:{server.server_address[1]}/v1",
        "api_key_env": "JUDGE_KEY", "requests_per_minute": 1_000_000, "retries": 0, **changes,
    }  # fmt: skip


def worth(text: str) -> bytes:
    return blake2b(text.strip().encode()).digest()


def two_texts(body: Any) -> tuple[str, str, str]:
    prompt, first, second = (text for _, text in TEXT.findall(body["messages"][0]["content"]))
    return prompt, first, second


def consistent(number: int, body: Any) -> Any:
    """Has a taste of its own, whatever the order; of some prompts it says nothing that can be read."""
    prompt, first, second = two_texts(body)
    if re.search(r" 1\d\.", prompt):
        return 200, completion("I had rather not.")
    return 200, completion(f"Because.\nVerdict: {'A' if worth(first) > worth(second) else 'B'}")


def test_both_models_answer_as_they_would_alone(place: Place) -> None:
    run, found = WHOLE, figures(place, WHOLE)
    space, _ = place
    answers = rows(folder(place, run) / "answers.jsonl")
    assert [row["line"] for row in answers] == list(range(1, PROMPTS + 1))
    for number, path in enumerate(("outputs/dpo", "models/tiny")):
        alone = load(space.path(path), dtype=mx.float32, fused=False)
        for row in answers:
            ids = alone.tokenizer.encode(row["prompt"])
            # A prompt has its own random numbers, the same under both models.
            written = Row(Settings(1.0), stream("win rate", 5, *ids), 20)
            decoder = Decoder(alone.model, set(alone.tokenizer.eos_token_ids), size=1, way="alone")
            decoder.queue.append(Job(ids, [written]))
            while decoder.busy:
                decoder.step()
            response = row["responses"][number]
            text = response_text(alone.tokenizer, ids, written.tokens, written.finish)
            assert (response["text"], response["tokens"]) == (text, len(written.tokens))
            assert (response["recipe"], response["model"]) == (["policy", "baseline"][number], path)
    assert sum(row["responses"][0]["text"] != row["responses"][1]["text"] for row in answers) >= 15
    # The baseline is the policy with its adapter off: one load.
    assert said(place, run).count("loading") == 0 or "loading models/tiny" not in said(place, run)
    assert found["asked"]["prompts"] == PROMPTS + 1
    assert found["asked"]["left_out"] == {"too_long": 1}
    assert "data/test.jsonl:22: 30" in said(place, run) and "rows (1 type)" in said(place, run)


def test_a_reward_model_judges(place: Place) -> None:
    space, db = place
    run, found = WHOLE, figures(place, WHOLE)
    told = rows(folder(place, run) / "comparisons.jsonl")
    assert len(told) == found["n"] == PROMPTS
    for row in told:
        if row["why"]:
            assert row["outcome"] == (0.5 if row["why"] == "identical" else float(bool(row["policy"].strip())))
            continue
        reward = {one["of"]: one["reward"] for one in row["told"]}
        assert row["result"] == ("win" if reward["policy"] > reward["baseline"] else "loss")
    wins = sum(row["result"] == "win" for row in told)
    ties = sum(row["result"] == "tie" for row in told)
    assert (found["wins"], found["ties"], found["losses"]) == (wins, ties, PROMPTS - wins - ties)
    assert {name: count["n"] for name, count in found["categories"].items()} == {"even": 10, "odd": 10}
    fact = facts.latest(db)["eval.win_rate"]
    assert fact.value == pytest.approx(100 * (wins + ties / 2) / PROMPTS)
    assert (fact.n, fact.unit, fact.run) == (PROMPTS, "%", run)
    assert fact.low is not None and fact.high is not None and fact.low <= (fact.value or 0) <= fact.high
    assert ("not different from 50 %" in fact.source) == (fact.low <= 50 <= fact.high)
    assert set(fact.inputs) == {"data/test.jsonl", "outputs/dpo", "models/tiny", "checkpoints/reward"}
    assert "eval.win_rate_length_controlled" in facts.latest(db)
    pairs = list(read_pairs(folder(place, run) / "lost.jsonl"))
    lost = [row for row in told if row["result"] == "loss" and row["policy"].strip()]
    assert [(p.prompt, p.chosen, p.rejected) for p in pairs if isinstance(p, Pair)] == [
        (row["prompt"], row["baseline"], row["policy"]) for row in lost
    ]
    judged = [row["judge"] for row in rows(folder(place, run) / "lost.jsonl")]
    assert judged and all("reward of the policy's" in words for words in judged)
    for file in folder(place, run).iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    names = {Path(artifact.path).name for artifact in artifacts.of_run(db, run)}
    assert names >= {"answers.jsonl", "verdicts.jsonl", "comparisons.jsonl", "lost.jsonl", "win_rate.json"}
    (space.data / "test.jsonl").write_text('{"prompt": "Other"}\n')
    assert stale_reason(db, space, fact) == "data/test.jsonl changed since"


def test_a_run_that_dies_goes_on_to_the_same_figures(place: Place) -> None:
    whole, figures_whole = WHOLE, figures(place, WHOLE)
    space, db = place
    run = submit(space, db, "evaluate", config(REWARD)).id
    stops = 0
    for looks in (9, 8, 3, 2):
        try:
            execute(place, run, looks)
            break
        except Stopped:
            stops += 1
        for name in ("answers.parts.jsonl", "verdicts.jsonl"):  # killed within a line
            file = folder(place, run) / name
            if file.exists() and file.stat().st_size:
                with file.open("a") as torn:
                    torn.write('{"judge": "jud')
    else:
        execute(place, run)
    assert stops >= 3
    for name in ("answers.jsonl", "comparisons.jsonl", "lost.jsonl"):
        assert (folder(place, run) / name).read_bytes() == (folder(place, whole) / name).read_bytes(), name
    # The copy's adapter names its model by another path.
    assert figures(place, run) | {"inputs": {}} == figures_whole | {"inputs": {}}
    asked = [(row["line"], row["first"]) for row in rows(folder(place, run) / "verdicts.jsonl")]
    assert len(asked) == len(set(asked)) == len(rows(folder(place, whole) / "verdicts.jsonl"))


def test_who_is_resumed_with_another_model_refuses(place: Place) -> None:
    space, db = place
    run = submit(space, db, "evaluate", config(REWARD)).id
    with pytest.raises(Stopped):
        execute(place, run, 9)
    (space.data / "test.jsonl").write_text('{"prompt": "Other"}\n')
    with pytest.raises(UserError, match=r"test\.jsonl changed"):
        execute(place, run)


def test_an_endpoint_is_asked_in_both_orders_and_silence_is_left_out(place: Place) -> None:
    with serving(consistent) as server:
        run, found = evaluated(place, endpoint(server))
        asked = len(server.seen)
    told = rows(folder(place, run) / "comparisons.jsonl")
    differ = [row for row in told if row["why"] not in BY_RULE]
    assert asked == 2 * len(differ) == found["judge"]["questions"]
    silent = [row for row in differ if re.search(r" 1\d\.", row["prompt"])]
    missing = len(silent)
    assert missing > 3 and all(row["result"] == "undecided" for row in silent)
    assert found["undecided"] == {"unparseable": missing}
    decided = [row for row in differ if row not in silent]
    for row in decided:
        assert row["result"] == ("win" if worth(row["policy"]) > worth(row["baseline"]) else "loss")
    counts = Counter(row["result"] for row in told)
    assert (found["wins"], found["ties"], found["losses"]) == (counts["win"], counts["tie"], counts["loss"])
    assert (found["n"], found["identical"]) == (PROMPTS - missing, counts["tie"])
    won = found["wins"] + found["ties"] / 2
    assert found["bounds"] == [won / PROMPTS, (won + missing) / PROMPTS]
    assert f"{missing} without a readable verdict" in facts.latest(place[1])["eval.win_rate"].source
    assert found["judge"]["orders_disagree"] == 0
    first = next(row for row in decided if row["result"] == "win")
    assert [(one["first"], one["better"]) for one in first["told"]] == [("policy", "policy"), ("baseline", "policy")]
    assert first["told"][0]["text"].startswith("Because.")
    assert KEY not in "".join(file.read_text() for file in folder(place, run).iterdir())


def test_a_judge_that_likes_the_first_place_finds_only_ties(place: Place) -> None:
    with serving(lambda number, body: (200, completion("Verdict: A"))) as server:
        run, found = evaluated(place, endpoint(server))
    told = rows(folder(place, run) / "comparisons.jsonl")
    assert {row["result"] for row in told if row["why"] not in BY_RULE} == {"tie"}
    assert found["ties"] == PROMPTS - found["empty"]
    assert found["judge"]["orders_disagree"] == PROMPTS - found["identical"] - found["empty"] > 5
    assert found["judge"]["first_position"]["share"] == 1.0
    assert "the answer that was read first wins 100.0 %" in said(place, run)


def test_a_judge_that_says_nothing_leaves_the_rate_unknown(place: Place) -> None:
    with serving(lambda number, body: (200, completion("Hm."))) as server:
        _, found = evaluated(place, endpoint(server))
    fact = facts.latest(place[1])["eval.win_rate"]
    unread = found["undecided"]["unparseable"]
    assert unread > 5
    assert (fact.value, found["n"], found["undecided"]) == (None, 0, {"unparseable": unread})
    assert f"{unread} without a readable verdict: verdicts.jsonl has its words; raise max_tokens" in fact.source


def test_likelihoods_of_a_model_here_and_equal_models(place: Place) -> None:
    judge = {"kind": "model", "model": "models/tiny", "verdict": "likelihood", "average_orders": True}
    _, found = evaluated(place, judge, limit=6)
    assert found["n"] == 6 and found["judge"]["kind"] == "model"
    # A model against itself says the same everywhere, sampled or not: all ties, nobody is asked.
    space, db = place
    raw = config(REWARD).model_dump(mode="json")
    raw["model"]["final"] = "models/tiny"
    run = submit(space, db, "evaluate", EvalConfig.model_validate(raw)).id
    execute(place, run)
    same = figures(place, run)
    assert (same["ties"], same["identical"], same["win_rate"]) == (PROMPTS, PROMPTS, 0.5)
    assert not (folder(place, run) / "verdicts.jsonl").exists()


def vote(place: Place, run: str, who: str, says: Callable[[dict[str, Any]], str], most: int | None = None) -> int:
    """Votes as the screen casts them, on all comparisons of answers.jsonl."""
    space, db = place
    file = folder(place, run) / "answers.jsonl"
    texts = {row["prompt"].strip(): row for row in rows(file)}
    count = 0
    for comparison in comparisons(file):
        if count == most:
            break
        if isinstance(comparison, BadRow):  # an empty answer
            continue
        row = texts[text_key(comparison.prompt)]
        policy, baseline = (one["text"] for one in row["responses"])
        choice = says(row)
        if choice in ("policy", "baseline"):
            policy_first = text_key(policy) <= text_key(baseline)
            choice = "first" if (choice == "policy") == policy_first else "second"
        votes.cast(db, Vote(comparison.key, choice, who, file=space.relative(file)))  # type: ignore[arg-type]
        count += 1
    return count


def test_people_judge_and_their_votes_are_counted_when_they_come(place: Place) -> None:
    space, db = place
    run, found = evaluated(place, None)
    fact = facts.latest(db)["eval.win_rate"]
    relative = space.relative(folder(place, run) / "answers.jsonl")
    assert fact.value is None
    assert f"'dpotui annotate vote {relative}'" in fact.source and "key a in stage 7" in fact.source
    told_first = rows(folder(place, run) / "comparisons.jsonl")
    differ = sum(row["why"] not in BY_RULE for row in told_first)
    # Ann votes on six for the policy: of those that need no vote, a like share is counted.
    assert vote(place, run, "ann", lambda row: "policy", most=6) == 6
    told = record_votes(db, space, relative)
    assert told is not None and told.startswith("win rate ")
    found = figures(place, run)
    same = round((PROMPTS - differ) * 6 / differ)
    assert found["n"] == 6 + same
    assert [row["result"] for row in rows(folder(place, run) / "comparisons.jsonl") if row["told"]] == ["win"] * 6
    assert found["undecided"] == {"open": differ - 6}
    # Of preference data these votes say nothing.
    assert not {"data.votes", "data.annotator_agreement"} & set(facts.latest(db))
    # Three people: a majority decides, and one that has none is a tie.
    vote(place, run, "ann", lambda row: "baseline" if row["category"] == "odd" else "policy")
    vote(place, run, "bob", lambda row: "baseline" if row["line"] <= 4 else "policy")
    vote(place, run, "cyd", lambda row: "tie" if row["line"] <= 12 else "reject")
    recount(db, space, runs.get(db, run))
    found = figures(place, run)
    by_line = {row["line"]: row for row in rows(folder(place, run) / "comparisons.jsonl")}
    for line, row in by_line.items():
        if row["why"] in BY_RULE:
            continue
        # Even lines are of the category odd. Ann: baseline there; Bob: baseline to line 4; Cyd: neither.
        ann, bob = ("baseline" if line % 2 == 0 else "policy"), ("baseline" if line <= 4 else "policy")
        expected = "tie" if ann != bob else {"policy": "win", "baseline": "loss"}[ann]
        assert row["result"] == expected, line
        assert {one["who"]: one["choice"] for one in row["told"]} == {
            "ann": ann, "bob": bob, "cyd": "tie" if line <= 12 else "reject"
        }  # fmt: skip
    assert found["n"] == PROMPTS and not found["undecided"]
    assert found["judge"]["people"] == ["ann", "bob", "cyd"] and found["judge"]["votes"] == 3 * differ
    assert any("Fleiss's kappa" in line for line in found["judge"]["lines"])
    fact = facts.latest(db)["eval.win_rate"]
    assert fact.run == run and fact.value == pytest.approx(100 * found["win_rate"])
    assert set(fact.inputs) == {"data/test.jsonl", "outputs/dpo", "models/tiny"}
    assert "by 3" not in fact.source and f"by {3 * differ} votes of ann, bob, cyd" in fact.source
    assert "ann: baseline" in rows(folder(place, run) / "lost.jsonl")[0]["judge"]
    # A run anew over the same answers finds the votes that were cast.
    again, anew = evaluated(place, None)
    assert again != run
    assert {name: anew[name] for name in ("wins", "ties", "losses")} == {
        name: found[name] for name in ("wins", "ties", "losses")
    }


def test_what_cannot_be_recounted_is_said(place: Place) -> None:
    space, db = place
    run = WHOLE
    with pytest.raises(UserError, match=r"was judged by reward checkpoints/reward, not by people"):
        recount(db, space, runs.get(db, run))
    told = record_votes(db, space, space.relative(folder(place, run) / "answers.jsonl"))
    assert told is not None and "change no figure" in told
    dpo = submit(space, db, "dpo", tiny.dpo_config())
    with pytest.raises(UserError, match="a run of kind dpo"):
        recount(db, space, dpo)
    other = submit(space, db, "evaluate", config(None, limit=3))
    with pytest.raises(UserError, match=f"has no answers yet: finish it with 'dpotui evaluate --resume {other.id}'"):
        recount(db, space, other)
    execute(place, other.id)
    answers = folder(place, other.id) / "answers.jsonl"
    answers.write_text(answers.read_text().replace('"recipe": "policy"', '"recipe": "x"', 1))
    with pytest.raises(UserError, match=r"answers\.jsonl:1: not as this program writes it"):
        recount(db, space, runs.get(db, other.id))
    (folder(place, other.id) / "win_rate.json").write_text("[]")
    with pytest.raises(UserError, match=r"win_rate\.json: not as this program writes it"):
        recount(db, space, runs.get(db, other.id))
    assert win_rate_people.evaluation_of(db, "data/answers.jsonl") is None


def test_an_empty_answer_loses_without_asking(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.evaluation import decoding

    texts = iter(["", "a word", "", "same", "a word", "", "", "same "])
    monkeypatch.setattr(decoding, "response_text", lambda *_: next(texts))
    run, found = evaluated(place, REWARD, limit=4)
    told = rows(folder(place, run) / "comparisons.jsonl")
    left = found["asked"]["left_out"]
    assert [(row["result"], row["why"]) for row in told] == [
        ("loss", "empty"), ("win", "empty"), ("tie", "identical"), ("tie", "identical")
    ] or left  # fmt: skip
    assert (found["empty"], found["identical"], found["n"]) == (2, 2, 4)
    assert not (folder(place, run) / "lost.jsonl").exists()


def test_no_prompt_that_can_be_asked(place: Place) -> None:
    with pytest.raises(UserError, match=r"none of the 21 prompts of data/test\.jsonl could be asked"):
        evaluated(place, REWARD, max_prompt_length=1)

"""Rewards, margins and exact KL of the objective against float64 on full logits."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from core.config.models import Adapter
from core.data.tokenize import Tokens
from core.generation.sampling import sample
from core.intervals import Z
from core.models import head as head_module
from core.models.adapters import adapters_off, add_adapters
from core.models.load import load
from core.models.reference import AdapterOff, WeightsFromDisk
from core.training import dpo as dpo_module
from core.training.losses import PairLoss
from tests.core.models.architectures import build
from tests.core.models.folders import write_folder
from tests.core.training.objectives import adapted, dpo, random_pairs

PAIRS = random_pairs(10)
BETA = 0.1
TOKENIZER = SimpleNamespace(eos_token_ids=set(range(12)))


def never() -> bool:
    return False


def log_softmax(model: nn.Module, ids: list[int]) -> np.ndarray:
    logits = np.array(model(mx.array([ids]))[0].astype(mx.float32), np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def naive_kl(model: nn.Module, examples: list[Tokens]) -> list[np.ndarray]:
    """Of each example, the KL of policy and reference at every token of the first response, over all the vocabulary."""
    found = []
    model.eval()
    for example in examples:
        ids = example.prompt + example.responses[0]
        p = log_softmax(model, ids)
        with adapters_off(model):
            q = log_softmax(model, ids)
        kl = (np.exp(p) * (p - q)).sum(-1)
        found.append(kl[len(example.prompt) - 1 : len(ids) - 1])
    return found


def naive_logps(model: nn.Module, prompt: list[int], response: list[int]) -> float:
    table = log_softmax(model, prompt + response)
    return sum(table[len(prompt) + i - 1, token] for i, token in enumerate(response))


@pytest.mark.parametrize("name", ["llama", "gemma2"])  # with a head of its own, and without
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_kl_on_chosen_responses(name: str, batch_size: int) -> None:
    model = adapted(name)
    expected = np.concatenate(naive_kl(model, PAIRS))
    assert expected.mean() > 0.01
    model.train()
    objective = dpo(model, PAIRS, batch_size=batch_size)
    model.eval()
    for _ in range(2):  # from the remembered features, too
        found = objective.evaluate(1, never)
        assert found["kl_divergence"] == pytest.approx(expected.mean(), rel=1e-4)


def test_kl_where_features_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted()
    kept = dpo(model, PAIRS).evaluate(1, never)
    monkeypatch.setattr(dpo_module, "FEATURES_BYTES", 0)
    objective = dpo(model, PAIRS)
    for _ in range(2):
        assert objective.evaluate(1, never) == kept


def test_kl_with_many_positions_goes_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted()
    whole = dpo(model, PAIRS).evaluate(1, never)
    monkeypatch.setattr(head_module, "ENTRIES_CPU", 0)
    monkeypatch.setattr(head_module, "LEAST", 7)
    parted = dpo(model, PAIRS).evaluate(1, never)
    assert parted == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo", "hinge"])
def test_evaluation_metrics(loss_type: str) -> None:
    model = adapted()
    objective = dpo(model, PAIRS, loss=PairLoss((loss_type,)), beta=BETA, batch_size=3)
    model.eval()
    found = objective.evaluate(1, never)
    ours = np.array([[naive_logps(model, pair.prompt, response) for response in pair.responses] for pair in PAIRS])
    with adapters_off(model):
        theirs = np.array([[naive_logps(model, pair.prompt, r) for r in pair.responses] for pair in PAIRS])
    ratios = ours - theirs
    margins = BETA * (ratios[:, 0] - ratios[:, 1])
    lengths = np.array([[len(response) for response in pair.responses] for pair in PAIRS])
    per_token = ratios / lengths
    losses = {
        "sigmoid": np.logaddexp(0, -margins),
        "ipo": (per_token[:, 0] - per_token[:, 1] - 1 / (2 * BETA)) ** 2,
        "hinge": np.maximum(0, 1 - margins),
    }
    expected = {
        "eval_loss": losses[loss_type].mean(),
        "eval_rewards/chosen": BETA * ratios[:, 0].mean(),
        "eval_rewards/rejected": BETA * ratios[:, 1].mean(),
        "eval_rewards/margins": margins.mean(),
        "eval_rewards/accuracies": (margins > 0).mean(),
        "eval_logps/chosen": ours[:, 0].mean(),
        "eval_logps/rejected": ours[:, 1].mean(),
        "eval_preference_accuracy": (ours[:, 0] > ours[:, 1]).mean(),
        "_margins_deviation": margins.std(ddof=1),
    }
    assert 0 < expected["eval_rewards/accuracies"] < 1
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    assert found.keys() == {*expected, "kl_divergence"}


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_nothing_is_different_before_the_first_step(name: str, dtype: mx.Dtype) -> None:
    model = build(name)
    model.set_dtype(dtype)
    add_adapters(model, Adapter(rank=2, dropout=0.5, num_layers=-1))
    model.train()
    objective = dpo(model, PAIRS)
    model.eval()
    found = objective.evaluate(0, never)
    assert found["kl_divergence"] == 0.0
    assert found["eval_rewards/margins"] == 0.0
    # Every pair is a tie.
    assert found["eval_rewards/accuracies"] == 0.5
    assert found["eval_loss"] == pytest.approx(np.log(2), rel=1e-6)
    model.train()  # where dropout would draw
    kl = objective.policy_kl(TOKENIZER, 6, 10, 0, never)
    assert (kl.mean, kl.low, kl.high) == (0.0, 0.0, 0.0)
    assert kl.responses == 6
    assert kl.tokens > 6


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_kl_on_the_policy_s_own_responses(name: str) -> None:
    model = adapted(name)
    count, longest, seed = 13, 9, 4  # more responses than prompts: they come in turn
    objective = dpo(model, PAIRS)
    model.train()
    found = objective.policy_kl(TOKENIZER, count, longest, seed, never)
    prompts = sorted((PAIRS[i % len(PAIRS)].prompt for i in range(count)), key=str)
    order = np.random.default_rng(seed).permutation(count)
    samples = sample(
        model,
        TOKENIZER,
        [[PAIRS[i % len(PAIRS)].prompt for i in range(count)][j] for j in order],
        max_tokens=longest,
        temperature=1.0,
        seed=seed,
    )
    assert sorted((s.prompt for s in samples), key=str) == prompts
    per_response = naive_kl(model, samples)
    tokens = np.array([len(kl) for kl in per_response])
    sums = np.array([kl.sum() for kl in per_response])
    mean = sums.sum() / tokens.sum()
    assert len(set(tokens)) > 1  # some ended early
    assert (found.responses, found.tokens) == (count, tokens.sum())
    assert found.mean == pytest.approx(mean, rel=1e-4)
    spread = Z * np.sqrt(((sums - mean * tokens) ** 2).sum()) / tokens.sum()
    assert (found.low, found.high) == pytest.approx((max(0.0, mean - spread), mean + spread), rel=1e-3)
    assert found.low < found.mean < found.high


def test_policy_kl_knows_no_dropout() -> None:
    model = adapted(dropout=0.5)
    objective = dpo(model, PAIRS)
    model.eval()
    expected = objective.policy_kl(TOKENIZER, 5, 6, 1, never)
    model.train()
    assert objective.policy_kl(TOKENIZER, 5, 6, 1, never) == expected


def test_policy_kl_draws_by_its_seed_alone() -> None:
    model = adapted()
    objective = dpo(model, PAIRS)
    first = objective.policy_kl(TOKENIZER, 8, 6, 1, never)
    mx.random.seed(3)
    assert objective.policy_kl(TOKENIZER, 8, 6, 1, never) == first
    assert objective.policy_kl(TOKENIZER, 8, 6, 2, never) != first


class Counted:
    """A reference that counts how often it is put in place."""

    same_trunk = True

    def __init__(self, model: nn.Module) -> None:
        self.inner, self.count = AdapterOff(model), 0

    @contextmanager
    def on(self):
        self.count += 1
        with self.inner.on():
            yield

    @contextmanager
    def head_on(self):
        with self.inner.head_on():
            yield


def test_the_reference_of_a_pair_is_computed_once() -> None:
    model = adapted()
    reference = Counted(model)
    objective = dpo(model, PAIRS, reference=reference)
    assert np.isnan(np.array(objective.memory["train"])).all()
    model.train()
    first = objective.batch([0, 1, 2])[0]["reference"]
    assert reference.count == 1
    np.testing.assert_array_equal(objective.batch([2, 0])[0]["reference"], first[mx.array([2, 0])])
    assert reference.count == 1
    # A batch that is known in part: what was known stays, to the bit.
    objective.memory["train"][1] += 1e-3
    first[1] = mx.array(objective.memory["train"][1])
    mixed = objective.batch([3, 1, 9, 8])[0]["reference"]
    assert reference.count == 2
    np.testing.assert_array_equal(mixed[1], first[1])
    known = ~np.isnan(np.array(objective.memory["train"])[:, 0])
    assert np.flatnonzero(known).tolist() == [0, 1, 2, 3, 8, 9]
    with adapters_off(model):
        expected = [[naive_logps(model, PAIRS[i].prompt, r) for r in PAIRS[i].responses] for i in (0, 1, 2)]
    expected[1] = np.add(expected[1], 1e-3)
    np.testing.assert_allclose(np.array(first), expected, rtol=1e-5)


def test_precomputed_is_the_same_with_the_reference_in_place_once() -> None:
    model = adapted()
    objective = dpo(model, PAIRS)
    evaluation = objective.evaluate(1, never)
    for index in range(len(PAIRS)):
        objective.batch([index])
    reference = Counted(model)
    precomputed = dpo(model, PAIRS, reference=reference)
    seen: list[tuple[int, int]] = []
    assert precomputed.precompute(never, lambda done, total: seen.append((done, total)))
    assert reference.count == 1
    assert seen[-1] == (len(PAIRS), len(PAIRS)) and seen == sorted(seen)
    for name in ("train", "validation"):
        np.testing.assert_allclose(np.array(precomputed.memory[name]), np.array(objective.memory[name]), rtol=1e-5)
    assert precomputed.evaluate(1, never) == pytest.approx(evaluation, rel=1e-5)
    precomputed.batch([4, 5])
    assert reference.count == 1


def test_an_evaluation_puts_the_reference_in_place_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted()
    reference = Counted(model)
    objective = dpo(model, PAIRS, reference=reference)
    first = objective.evaluate(1, never)
    assert reference.count == 1
    assert objective.evaluate(2, never) == first
    assert reference.count == 1
    # Where the log-probs are known, what enters the head is not.
    resumed = dpo(model, PAIRS, reference=reference)
    resumed.memory = objective.memory
    assert resumed.evaluate(3, never) == first
    assert reference.count == 2
    # Where memory ends, the rest is computed at each evaluation.
    monkeypatch.setattr(dpo_module, "FEATURES_BYTES", objective._features[0].nbytes)
    objective = dpo(model, PAIRS, reference=reference)
    assert objective.evaluate(1, never) == first
    assert len(objective._features) == 1
    before = reference.count
    assert objective.evaluate(2, never) == first
    assert reference.count == before + len(PAIRS) - 1


def test_precomputing_again_computes_only_what_is_unknown() -> None:
    model = adapted()
    objective = dpo(model, PAIRS)
    objective.batch([0, 1, 2])
    known = np.array(objective.memory["train"])
    assert objective.precompute(never, lambda done, total: None)
    after = np.array(objective.memory["train"])
    np.testing.assert_array_equal(after[:3], known[:3])
    assert np.isfinite(after).all()


@pytest.mark.parametrize("looks", [0, 1, 4])
def test_interrupted(looks: int) -> None:
    model = adapted()
    objective = dpo(model, PAIRS)
    answers = iter([False] * looks + [True] * 100)

    def soon() -> bool:
        return next(answers)

    if looks < 3:
        assert objective.evaluate(1, soon) is None
        assert objective.policy_kl(TOKENIZER, 4, 4, 0, soon) is None
    answers = iter([False] * looks + [True] * 100)
    assert not objective.precompute(soon, lambda done, total: None)


def test_score_is_the_margin_within_the_limit() -> None:
    objective = dpo(adapted(), PAIRS, kl_target=0.1)
    assert objective.score({"kl_divergence": 0.1, "eval_rewards/margins": 0.7}) == 0.7
    # Nothing is rounded.
    assert objective.score({"kl_divergence": 0.1000001, "eval_rewards/margins": 0.7}) is None
    assert objective.score({"kl_divergence": float("nan"), "eval_rewards/margins": 0.7}) is None
    assert objective.score({"kl_divergence": 0.05, "eval_rewards/margins": float("nan")}) is None


def test_full_fine_tuning_has_the_reference_of_an_adapter(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "base")
    pairs = random_pairs(6)
    one = load(folder).model
    add_adapters(one, Adapter(rank=2, num_layers=-1))
    by_adapter = dpo(one, pairs)
    other = load(folder).model
    other.unfreeze()
    other.update({"model": {"norm": {"weight": other.model.norm.weight * 1.5}}})  # trained a little
    from_disk = dpo(other, pairs, reference=WeightsFromDisk(other, folder, None, False))
    own = np.array(other(mx.array([[1, 2, 3]])))
    for objective in (by_adapter, from_disk):
        assert objective.precompute(never, lambda done, total: None)
    for name in ("train", "validation"):
        assert np.array_equal(np.array(by_adapter.memory[name]), np.array(from_disk.memory[name]))
    assert np.array_equal(np.array(other(mx.array([[1, 2, 3]]))), own)
    # And the KL is the naive one, with the head of the reference and not the policy's.
    found = from_disk.evaluate(1, never)["kl_divergence"]
    base = load(folder).model
    expected = []
    for pair in pairs:
        ids = pair.prompt + pair.responses[0]
        p, q = log_softmax(other, ids), log_softmax(base, ids)
        expected.append((np.exp(p) * (p - q)).sum(-1)[len(pair.prompt) - 1 : -1])
    assert found == pytest.approx(np.concatenate(expected).mean(), rel=1e-4)
    other.update({"model": {"embed_tokens": {"weight": other.model.embed_tokens.weight * 1.1}}})
    found = from_disk.evaluate(2, never)["kl_divergence"]
    expected = []
    for pair in pairs:
        ids = pair.prompt + pair.responses[0]
        p, q = log_softmax(other, ids), log_softmax(base, ids)
        expected.append((np.exp(p) * (p - q)).sum(-1)[len(pair.prompt) - 1 : -1])
    assert found == pytest.approx(np.concatenate(expected).mean(), rel=1e-4)

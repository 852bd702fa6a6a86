"""What a reward model's scores of its two files come to: the summary that is drawn, and stage 4's facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.config import RewardConfig
from core.evaluation.calibration import calibration
from core.evaluation.reward_summary import WORST, Calibration, RewardSummary, Split, Wrong, histogram
from core.intervals import difference, wilson
from core.models.reward_folder import LoadedReward
from core.store import facts
from core.store.facts import Fact
from core.training.context import Context
from core.training.loop import Outcome
from core.training.reward import TIE, Comparison, Scores, summary

SPLITS = ("train", "validation")

# What was scored of a split: the pairs, and their rewards.
Scored = Mapping[str, tuple[Sequence[Comparison], Scores]]


def summarize(config: RewardConfig, scored: Scored) -> RewardSummary:
    """Of both files, on common axes."""
    files = {"train": config.data.train_file, "validation": config.data.validation_file}
    rewards = [rewards for _, rewards in scored.values()]
    ends = float(min(r.min() for r in rewards)), float(max(r.max() for r in rewards))
    deltas = [r[:, 0] - r[:, 1] for r in rewards]
    margins = float(min(d.min() for d in deltas)), float(max(d.max() for d in deltas))
    found = {}
    for split, (pairs, rewards_) in scored.items():
        values, delta = summary(rewards_), rewards_[:, 0] - rewards_[:, 1]
        low, high = wilson(values["accuracy"] * len(pairs), len(pairs))
        order = sorted((i for i in range(len(pairs)) if delta[i] <= -TIE), key=lambda i: float(delta[i]))
        found[split] = Split(
            file=files[split],
            pairs=len(pairs),
            accuracy=values["accuracy"],
            low=low,
            high=high,
            margin=values["margin"],
            chosen=histogram(rewards_[:, 0].tolist(), *ends),
            rejected=histogram(rewards_[:, 1].tolist(), *ends),
            margins=histogram(delta.tolist(), *margins),
            calibration=calibration(delta, config.training.seed),
            wrong=len(order),
            worst=tuple(
                Wrong(line=pairs[i].line, chosen=float(rewards_[i, 0]), rejected=float(rewards_[i, 1]))
                for i in order[:WORST]
            ),
        )
    return RewardSummary(train=found["train"], validation=found["validation"])


def record_data(context: Context, config: RewardConfig, train: int, validation: int) -> None:
    """That the pairs of both files are loaded, and how they are split; `train` and `validation` count them."""
    names = (config.data.train_file, config.data.validation_file)
    inputs = context.inputs(*names)
    both = f"{train} pairs of {names[0]}, {validation} of {names[1]}"
    facts.record(
        context.db,
        Fact("reward.data", float(train), run=context.run.id, n=train, source=both, inputs=inputs),
        Fact(
            "reward.validation_share", validation / (train + validation), run=context.run.id, n=train + validation,
            source=both, inputs=inputs,
        ),
    )  # fmt: skip


def record_facts(
    context: Context, config: RewardConfig, loaded: LoadedReward, outcome: Outcome, found: RewardSummary
) -> None:
    """Stage 4's facts, of the reward model that was handed over."""
    me, best = context.run.id, outcome.best.name
    model = context.inputs(config.model.checkpoint)
    train, validation = found.train, found.validation
    files = {split.file: context.inputs(split.file) for split in (train, validation)}
    accuracies = [
        Fact(
            f"reward.{name}_accuracy", 100 * split.accuracy, unit="%", run=me, low=100 * split.low,
            high=100 * split.high, n=split.pairs,
            source=f"{best} on {split.pairs} pairs of {split.file}, ties count half",
            inputs={**model, **files[split.file]},
        )
        for name, split in zip(SPLITS, (train, validation), strict=True)
    ]  # fmt: skip
    low, high = difference(
        train.accuracy, (train.low, train.high), validation.accuracy, (validation.low, validation.high)
    )
    everything = {**files[train.file], **files[validation.file]}
    facts.record(
        context.db,
        *accuracies,
        Fact(
            "reward.overfitting_gap", 100 * (train.accuracy - validation.accuracy), unit="points", run=me,
            low=100 * low, high=100 * high, n=train.pairs + validation.pairs,
            source=f"training minus validation accuracy, {train.pairs} and {validation.pairs} pairs",
            inputs={**model, **everything},
        ),
        Fact(
            "reward.calibration", validation.calibration.ece, run=me, low=validation.calibration.low,
            high=validation.calibration.high, n=validation.pairs, source=calibration_source(validation, config),
            inputs={**model, **files[validation.file]},
        ),
        Fact("reward.architecture", 1.0, run=me, text=architecture(config, loaded), source="as built", inputs=model),
        Fact("reward.finished", 1.0, run=me, source=f"{outcome.state.step} steps", inputs=everything),
        Fact(
            "reward.checkpoint_saved", 1.0, run=me, text=config.model.checkpoint, source="sha256 recorded", inputs=model
        ),
    )  # fmt: skip


def calibration_source(split: Split, config: RewardConfig) -> str:
    """How the calibration error was measured, and what stands beside it."""
    c = split.calibration
    return (
        f"ECE of σ(r_first - r_second), {len(c.curve)} bins of equal numbers of {c.n} pairs of {split.file}, their"
        f" order drawn by seed {config.training.seed}; a calibrated model shows {c.chance:.3f} on so many;"
        f" Brier {c.brier:.3f}; {temperature_words(c)}"
    )


def temperature_words(found: Calibration) -> str:
    if found.temperature is None or found.cooled_ece is None:
        return f"no temperature: {found.why}"
    return f"temperature {found.temperature:.2f} would leave {found.cooled_ece:.3f} (fitted on the same pairs)"


def architecture(config: RewardConfig, loaded: LoadedReward) -> str:
    """What was built, in words."""
    names = loaded.config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else str(loaded.config.get("model_type", "model"))
    for end in ("ForCausalLM", "ForSequenceClassification"):
        name = name.removesuffix(end)
    adapter = config.adapter
    trained = "all weights"
    if adapter.type != "full":
        where = "all blocks" if adapter.num_layers == -1 else f"the last {adapter.num_layers} blocks"
        trained = f"{'LoRA' if adapter.type == 'lora' else 'DoRA'} rank {adapter.rank} on {where}"
    return f"{name}, a linear score on the last token, {trained}, from {config.model.base_model}"

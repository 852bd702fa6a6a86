"""The gates of the final checkpoint itself: it loads, its KL on its own responses, no contamination."""

from __future__ import annotations

from mlx.utils import tree_flatten

from core.evaluation import contamination
from core.evaluation.held_out import read_held_out
from core.evaluation.policy_kl import Measured, diverge, measure, sample
from core.evaluation.references import Against, against
from core.evaluation.rows import Rows, write_json
from core.evaluation.session import Session
from core.models.load import LanguageModel, adapted, resolve
from core.models.reference import Reference, WeightsFromDisk
from core.store.facts import Fact
from core.text import printable
from core.training.dpo_run import architecture_differences

ROWS = "final.parts.jsonl"
LOADED, KL = "eval.checkpoint_loaded", "eval.kl_divergence"


def run(session: Session) -> None:
    """Measure `eval.checkpoint_loaded`, `eval.kl_divergence` and `eval.decontamination`."""
    name = session.config.subject_model
    inputs = session.reads(name)
    loaded = session.model()
    session.record(_loaded(session, loaded, inputs))
    what = against(session)
    kl, measured = _kl(session, loaded, what, inputs)
    session.record(kl)
    del loaded
    session.release()
    clean = contamination.measure(session, what.made, inputs)
    session.record(clean)
    for fact in (kl, clean):
        if fact.value is None:
            session.context.log(f"{fact.name} is not measured: {fact.source}", "warning")
    path = session.folder / "final.json"
    write_json(
        path,
        {
            "model": name, "reference": what.reference, "run": what.made.run and what.made.run.id,
            "kl_divergence": kl.value, "kl_divergence_low": kl.low, "kl_divergence_high": kl.high,
            "kl_responses": measured and measured.responses, "kl_tokens": measured and measured.tokens,
            "kl_source": kl.source, "decontamination": clean.value, "decontamination_source": clean.source,
        },
    )  # fmt: skip
    session.context.artifact("evaluation", session.context.workspace.relative(path))


def _loaded(session: Session, loaded: LanguageModel, inputs: dict[str, str]) -> Fact:
    name = session.config.subject_model
    size = sum(value.size for _, value in tree_flatten(loaded.model.parameters()))
    folder = session.context.workspace.path(name)
    base = adapted(folder) if folder.is_dir() else None
    on = "" if base is None else f", adapter on {printable(session.context.workspace.relative(base))}"
    source = f"{printable(name)}: {size:,} weights, all of them numbers{on}"
    session.context.log(source)
    return Fact(LOADED, 1.0, text=printable(name), source=source, inputs=inputs)


def _kl(session: Session, loaded: LanguageModel, what: Against, inputs: dict[str, str]) -> tuple[Fact, Measured | None]:
    """The fact; None with the reason where the reference cannot be had."""
    unit = "nats/token"
    if what.reference is None:
        return Fact(KL, None, unit=unit, source=what.why, inputs=inputs), None
    reads = session.reads(what.reference, session.config.alignment_evaluation.preference_validation.test_set)
    reference = _reference(session, loaded, what.reference)
    if isinstance(reference, str):
        return Fact(KL, None, unit=unit, source=reference, inputs=inputs | reads), None
    with session.rows(ROWS) as found:
        measured = measure(session, loaded, reference, _prompts(session, loaded, what), found)
    session.context.log(
        f"KL of the policy on {measured.responses} responses of its own, {measured.tokens} tokens:"
        f" {measured.mean:.4g} nats per token"
    )
    source = f"exact, {measured.tokens} tokens sampled from the policy, reference {what.words}"
    fact = Fact(
        KL, measured.mean, unit=unit, low=measured.low, high=measured.high, n=measured.responses, source=source,
        inputs=inputs | reads,
    )  # fmt: skip
    return fact, measured


def _reference(session: Session, loaded: LanguageModel, name: str) -> Reference | str:
    """The model that the KL is from, or why it cannot be."""
    stands = session.adapter_on(name)
    path = resolve(session.context.workspace, name)
    different = [] if stands else architecture_differences(path, loaded.path)
    if different:
        return f"{printable(name)} and the model differ in {', '.join(different)}"
    return stands or WeightsFromDisk(loaded.model, path, session.dtype, session.config.model.trust_remote_code)


def fill_responses(session: Session, found: Rows, what: Against) -> None:
    """Have the policy write the responses whose KL is measured."""
    loaded = session.model()
    sample(session, loaded, _prompts(session, loaded, what), found)


def fill_kl(session: Session, found: Rows, what: Against) -> None:
    """Measure the KL of the responses; of none where the reference cannot be had."""
    loaded = session.model()
    reference = None if what.reference is None else _reference(session, loaded, what.reference)
    if reference is not None and not isinstance(reference, str):
        diverge(session, loaded, reference, _prompts(session, loaded, what), found)


def _prompts(session: Session, loaded: LanguageModel, what: Against) -> list[list[int]]:
    """The different prompts of the held-out pairs, as token ids."""
    found = {tuple(pair.tokens.prompt): None for pair in read_held_out(session, loaded, what.made)}
    return [list(prompt) for prompt in found]

"""A run of kind `export`: write the forms that were asked for, load them again, score them, and only then show them."""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from core import hardware
from core.config import ComputePlan, plan
from core.config.export import ExportConfig
from core.config.models import Compute
from core.data.tokenize import Tokens
from core.errors import UserError
from core.handover import card, forms, gguf, inventory, mlx_folder, peft, peft_read, scoring
from core.handover.evidence import Evidence, gather, hub_name
from core.handover.request import refuse_place
from core.handover.room import refuse_full_disk, rounds, scoring_type
from core.handover.scoring import Agreement, Measured, Spoken
from core.handover.subject import Subject, base_of, find
from core.model_folder import read_shape
from core.models.device import use_device
from core.models.fusing import fuse
from core.models.load import LanguageModel, load
from core.models.save import recover, whole_folder
from core.report.chain import setting
from core.report.sources import Sources
from core.store import facts, files, runs
from core.store.facts import Fact
from core.text import printable
from core.training.context import Context
from core.training.prepare import claim_output

# Scoring, writing, loading again, rounding, the card.
_PHASES = 5
_PEFT = "the PEFT adapter"


def run(context: Context) -> None:
    """Write, verify, record."""
    config = ExportConfig.model_validate(context.run.config)
    subject = _subject(context, config)
    here = plan(Compute())
    use_device(ComputePlan(here.device, "float32", False))
    folders = [subject.folder, *([context.workspace.path(config.adapter)] if config.adapter else [])]
    bases = [str(base) for folder in folders if (base := base_of(folder)) is not None]
    inputs = context.reads(*map(str, folders), *bases, config.pairs)
    target = _claim(context, config)
    try:
        with whole_folder(target) as part:
            found = _Export(context, config, subject, inputs).write(part)
    except BaseException:
        with suppress(OSError):
            target.rmdir()  # an empty folder that was claimed; one that holds something stays
        raise
    _record(context, config, found, target, inputs)


def steps_of(config: ExportConfig) -> int:
    return _PHASES + 2 * config.peft + config.gguf


def _subject(context: Context, config: ExportConfig) -> Subject:
    """As it is now.

    Raises:
        UserError: between asking and starting another model took its place.
    """
    found = find(context.workspace, context.db, config.what, config.checkpoint)
    if found.name != config.model:
        raise UserError(
            f"{printable(config.what)} is {printable(found.name)} now, not {printable(config.model)}: ask again"
        )
    return found


def _claim(context: Context, config: ExportConfig) -> Path:
    """The folder to write: the one that was named, or the usual one under a number that is free."""
    target = context.workspace.path(config.output)
    if config.replace or context.run.output_dir is not None:
        target = context.workspace.path(context.run.output_dir or config.output)
        recover(target)
        # Of a run that ended between the last file and its record, what lies there is its own.
        own = inventory.is_export(target, context.run.id)
        refuse_place(target, printable(config.output), config.replace or own)
        runs.update(context.db, context.run.id, output_dir=context.workspace.relative(target))
        context.run = runs.get(context.db, context.run.id)
        return target
    return claim_output(context, config.output)


class _Export:
    """One export on its way: what was measured and written so far."""

    def __init__(self, context: Context, config: ExportConfig, subject: Subject, inputs: dict[str, str]) -> None:
        self._context = context
        self._config = config
        self._subject = subject
        self._inputs = inputs
        self._step = 0
        self.peft: dict[str, Any] | None = None
        self.peft_agreement: Agreement | None = None
        self.gguf: str | None = None
        self._shape = read_shape(subject.folder)
        self._type, self._tolerance = scoring_type(self._shape)
        if self._type is None:
            context.log("memory is short for float32: scored in the type of the weights, and held to less", "warning")

    def write(self, part: Path) -> tuple[Agreement, Agreement | None]:
        """One model is in memory at a time."""
        context, config = self._context, self._config
        refuse_full_disk(part, self._shape, config)
        self._next("scoring the model as it was trained")
        before, spoken = self._measure_policy(part)
        reference = self._reference(before.rows)
        self._next("writing the model")
        written = self._write_model(part)
        context.log(f"model: {written.words}, {written.parameters:,} parameters")
        self._next("loading it again")
        tolerance = None if written.bits else max(self._tolerance, *(scoring.TOLERANCE[name] for name in written.types))
        agreement = self._compare(part, before, spoken, reference, tolerance)
        _free()
        context.log(f"written against trained: {agreement.words}")
        if config.peft:
            self._next("merging the PEFT adapter as PEFT does")
            self.peft_agreement = self._check_peft(part / "peft", before)
            _free()
            context.log(f"PEFT against trained: {self.peft_agreement.words}")
        for what, each in (("the model", agreement), (_PEFT, self.peft_agreement)):
            self._refuse_mismatch(what, each)
        self._next("writing the card")
        self._describe(part, written, agreement)
        return agreement, self.peft_agreement

    def _measure_policy(self, part: Path) -> tuple[Measured, Spoken | None]:
        """What the model as it was trained makes of the rows; of one whose weights will be rounded, its own words."""
        context, config = self._context, self._config
        policy = self._load(self._subject.folder, merged=False)
        rows = scoring.rows_of(context.workspace.path(config.pairs), config, policy)
        context.log(f"{len(rows)} rows of {config.pairs} to score")
        before = scoring.measure(policy, rows, context.control.raise_if_stopping)
        if config.peft:
            self._next("writing the PEFT adapter")
            self._write_peft(policy, part / "peft")
        spoken = scoring.speak(policy, rows) if rounds(self._shape, config) else None
        del policy
        _free()
        return before, spoken

    def _compare(
        self,
        part: Path,
        before: Measured,
        spoken: Spoken | None,
        reference: Measured | None,
        tolerance: float | None,
    ) -> Agreement:
        after = self._load(part)
        if mx.default_device() == mx.Device(mx.cpu):
            # The same weights written out: MLX's products with packed ones are many times slower there.
            fuse(after.model, dequantize=True)
        rows = scoring.rows_of(self._context.workspace.path(self._config.pairs), self._config, after)
        measured = scoring.measure(after, rows, self._context.control.raise_if_stopping)
        agreement = scoring.compare(before, measured, tolerance, reference)
        if spoken is None or not spoken.samples:
            return agreement
        self._next("measuring what rounding changed")
        kl, tokens = scoring.divergence(spoken, after)
        return replace(agreement, kl=kl, kl_tokens=tokens)

    def _next(self, phase: str) -> None:
        self._context.control.raise_if_stopping()
        self._context.progress(self._step, steps_of(self._config), phase)
        self._step += 1

    def _load(self, folder: Path, *, merged: bool = True) -> LanguageModel:
        code = self._config.trust_remote_code
        return load(folder, dtype=self._type, trust_remote_code=code, fused=merged)

    def _reference(self, rows: list[Tokens]) -> Measured | None:
        """The same rows under the reference of DPO, where that is still what it was."""
        run, workspace = self._subject.run, self._context.workspace
        name = setting(run, "model", "reference_model")
        if run is None or name is None or self._config.examples or not workspace.path(name).is_dir():
            return None
        if run.inputs.get(name) != files.sha256(self._context.db, workspace, name):
            return None
        found = scoring.measure(self._load(workspace.path(name)), rows, self._context.control.raise_if_stopping)
        _free()
        return found

    def _write_model(self, part: Path) -> mlx_folder.Written:
        config, folder = self._config, self._subject.folder
        loaded = mlx_folder.fused(folder, config, plain=config.quantize is not None or config.dtype is not None)
        quantized_still = "quantization" in loaded.config
        if config.gguf:
            self._next("writing GGUF")
            plain = mlx_folder.fused(folder, config, plain=True) if quantized_still else loaded
            name = f"{self._stem()}-f16.gguf"
            (part / "gguf").mkdir()
            count = gguf.write(plain, self._stem(), part / "gguf" / name)
            self.gguf = f"gguf/{name}"
            self._context.log(f"GGUF: {count} tensors, read back the same")
        if config.quantize is not None:
            loaded = mlx_folder.quantized(loaded, config.quantize, config.group_size)
        elif quantized_still and base_of(folder) is not None:
            self._context.log(
                "the model is quantized, and is quantized again with its adapter in it, which loses some of what was"
                " learned: --dtype float16 writes it out without",
                "warning",
            )
        written = mlx_folder.write(loaded, part, code=config.trust_remote_code)
        del loaded
        _free()
        return written

    def _stem(self) -> str:
        """A name for files: the run's, or the folder's."""
        name = self._subject.run.id if self._subject.run else self._subject.folder.name
        return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)

    def _write_peft(self, policy: LanguageModel, folder: Path) -> None:
        adapter = self._adapter
        loaded = policy if adapter == self._subject.folder else self._load(adapter, merged=False)
        base = base_of(adapter)
        assert base is not None, "asked before the run was queued"
        workspace = self._context.workspace
        name = hub_name(workspace, str(base)) or workspace.relative(base)
        folder.mkdir()
        # Where the model lies outside of the workspace its path tells of this machine.
        self.peft = peft.write(loaded, name if not Path(name).is_absolute() else base.name, folder)

    def _check_peft(self, folder: Path, before: Measured) -> Agreement:
        base = base_of(self._adapter)
        assert base is not None
        loaded = self._load(base)
        peft_read.merge(loaded.model, folder)
        after = scoring.measure(loaded, before.rows, self._context.control.raise_if_stopping)
        return scoring.compare(before, after, self._tolerance)

    @property
    def _adapter(self) -> Path:
        return self._context.workspace.path(str(self._config.adapter))

    def _refuse_mismatch(self, what: str, found: Agreement | None) -> None:
        if found is None or found.holds:
            return
        limit = scoring.BROKEN if found.tolerance is None else found.tolerance
        facts.record(
            self._context.db,
            Fact(
                "export.verified", 0.0, run=self._context.run.id, n=found.rows, text=f"{what}: {found.words}",
                source=f"beyond {limit:g} nats a token", inputs=self._inputs,
            ),
        )  # fmt: skip
        mend = "leave out --peft" if what == _PEFT else "try another --dtype, or 8 bits in place of 4"
        raise UserError(
            f"{what} that was written does not score as the one that was trained: {found.words}, more than {limit:g}"
            f" nats a token; nothing was kept: {mend}"
        )

    def _describe(self, part: Path, written: mlx_folder.Written, agreement: Agreement) -> None:
        context, config, subject = self._context, self._config, self._subject
        sources = Sources(context.db, context.workspace)
        evidence = gather(context.workspace, context.db, subject)
        transformers = "its weights are quantized by MLX" if written.bits else forms.no_transformers(part)
        contents = card.Contents(
            written.words, written.parameters, written.bits, self.gguf, self.peft, transformers, agreement,
            self.peft_agreement, "float32" if self._type is not None else "the type of the weights",
        )  # fmt: skip
        (part / "README.md").write_text(card.card(sources, subject, evidence, config, contents), "utf-8")
        inventory.write(part, self._told(sources, evidence, written, agreement))

    def _told(
        self, sources: Sources, evidence: Evidence, written: mlx_folder.Written, agreement: Agreement
    ) -> dict[str, Any]:
        """What export.json says."""
        run, config, clean = self._context.run, self._config, sources.clean
        results: dict[str, Any] = {
            "mlx": {"dtype": written.dtype, "bits": written.bits, "group_size": written.group_size}
        }
        results["gguf"] = {"file": self.gguf, "dtype": "float16"} if self.gguf else None
        results["peft"] = {"folder": "peft", "base": self.peft["base_model_name_or_path"]} if self.peft else None
        verified = {"model": agreement, "peft": self.peft_agreement}
        return {
            "run": run.id,
            "made": run.started,
            "of": {
                "run": self._subject.run.id if self._subject.run else None,
                "folder": clean.path(self._subject.name),
                "checkpoint": self._subject.checkpoint,
                "sha256": self._inputs.get(self._subject.name),
            },
            "inputs": {clean.path(path): digest for path, digest in self._inputs.items()},
            "lineage": [
                {"run": each.id, "kind": each.kind, "inputs": {clean.path(k): v for k, v in each.inputs.items()}}
                for each in evidence.chain.runs
            ],
            "base": {"name": clean.path(evidence.base) if evidence.base else None, "hub": evidence.hub,
                     "license": evidence.license},
            "parameters": written.parameters,
            "results": results,
            "verified": {
                name: _figures(found, config.pairs) if found is not None else None for name, found in verified.items()
            },
            "versions": hardware.provenance(),
        }  # fmt: skip


def _figures(found: Agreement, pairs: str) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "file": pairs if not Path(pairs).is_absolute() else Path(pairs).name,
        "mean_difference_nats": found.difference,
        "mean_difference_nats_per_token": found.per_token,
        "worst_difference_nats_per_token": found.worst,
        "tolerance_nats_per_token": found.tolerance,
        "preference_accuracy": list(found.accuracy) if found.accuracy else None,
        "kl_nats_per_token": found.kl,
    }


def _record(
    context: Context,
    config: ExportConfig,
    found: tuple[Agreement, Agreement | None],
    target: Path,
    inputs: dict[str, str],
) -> None:
    """Artifacts with their hashes, and what was found of them as facts."""
    relative, me = context.workspace.relative(target), context.run.id
    context.artifact("model", relative)
    if config.peft:
        context.artifact("adapter", f"{relative}/peft")
    for pattern, kind in (("gguf/*.gguf", "gguf"), ("README.md", "card"), ("SHA256SUMS", "checksums")):
        for file in target.glob(pattern):
            context.artifact(kind, f"{relative}/{file.relative_to(target).as_posix()}")
    agreement, of_peft = found
    read = {**inputs, **files.fingerprints(context.db, context.workspace, relative)}
    n, source = agreement.rows, f"{agreement.responses} responses of {config.pairs}, {relative} loaded again"
    words = agreement.words + (f"; PEFT: worst {of_peft.worst:.3g} nats a token" if of_peft else "")
    recorded = [
        Fact("export.verified", 1.0, run=me, n=n, text=words, source=source, inputs=read),
        Fact(
            "export.logp_difference", agreement.difference, "nats", me, n=n, source=f"mean |Δ|, {source}", inputs=read
        ),
    ]
    if agreement.kl is not None:
        source = f"exact, {agreement.kl_tokens} tokens sampled from the model as it was trained"
        recorded.append(Fact("export.kl_divergence", agreement.kl, "nats/token", me, source=source, inputs=read))
    if agreement.accuracy is not None:
        before, after = (100 * share for share in agreement.accuracy)
        source = f"{before:.4g} % before, on the same {n} pairs of {config.pairs}"
        recorded.append(Fact("export.preference_accuracy", after, "%", me, n=n, source=source, inputs=read))
    facts.record(context.db, *recorded)
    steps = steps_of(config)
    context.progress(steps, steps, "recorded")
    context.log(f"{relative} is whole: {agreement.words}")


def _free() -> None:
    gc.collect()
    mx.clear_cache()

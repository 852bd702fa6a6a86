"""MLflow: a run in its database or on its server, with metrics at their own steps and times."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from core.tracking.secrets import scrub
from core.tracking.tracker import Final, Opened, Options, Row, Subject, Summary

# What MLflow takes in one request, and of a value.
_METRICS, _OTHERS, _VALUE, _TAG = 1000, 100, 6000, 5000
_ENDED = {"finished": "FINISHED", "failed": "FAILED", "running": "RUNNING"}
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class MlflowTracker:
    def __init__(self) -> None:
        self._client: MlflowClient | None = None
        self._run = ""
        self._told: dict[str, str] = {}

    def open(self, subject: Subject, options: Options, key: str) -> Opened:
        root = Path(options.root)
        uri = options.uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
        artifacts = None
        if not uri:
            folder = root / "outputs" / "mlflow"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            uri, artifacts = f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts")
        try:
            self._client = MlflowClient(tracking_uri=uri)
            if key:
                self._goes_on(key)
            else:
                self._begin(subject, options.project, artifacts)
        except MlflowException as error:
            if error.error_code in _REFUSED:
                raise Final(f"MLflow refuses it: {error.message}") from error
            raise
        place = uri.removeprefix("sqlite:///")
        if Path(place).is_relative_to(root):
            place = str(Path(place).relative_to(root))
        return Opened(self._run, scrub(place), None)

    def _begin(self, subject: Subject, project: str, artifacts: str | None) -> None:
        assert self._client is not None
        found = self._client.get_experiment_by_name(project)
        experiment = found.experiment_id if found else self._client.create_experiment(project, artifacts)
        # A worker that was killed before its key was written down left a run behind.
        left = self._client.search_runs([experiment], f"tags.`dpotui.unique` = '{subject.unique}'", max_results=1)
        if left:
            self._goes_on(left[0].info.run_id)
            return
        tags = {
            "dpotui.run": subject.id, "dpotui.unique": subject.unique, "dpotui.kind": subject.kind,
            "dpotui.seed": str(subject.seed), "dpotui.group": subject.group,
            "mlflow.source.name": "dpotui", "mlflow.source.type": "LOCAL",
            **{f"tag.{tag}": "true" for tag in subject.tags},
        }  # fmt: skip
        run = self._client.create_run(
            experiment,
            start_time=int(subject.started * 1000),
            tags={_key(name): value for name, value in tags.items() if value},
            run_name=subject.name,
        )
        self._run = run.info.run_id

    def _goes_on(self, key: str) -> None:
        assert self._client is not None
        run = self._client.get_run(key)
        self._run, self._told = key, dict(run.data.params)
        if run.info.lifecycle_stage == "deleted":
            raise Final("its run was deleted in MLflow: 'dpotui track RUN --to mlflow --anew' begins another")
        self._client.update_run(key, status="RUNNING")

    def describe(self, subject: Subject) -> None:
        assert self._client is not None
        # A parameter of MLflow is said once: what has another value by now is a tag.
        shown = {_key(name): str(value)[:_VALUE] for name, value in subject.config.items() if value is not None}
        changed = {name: value for name, value in shown.items() if self._told.get(name, value) != value}
        fresh = [Param(name, value) for name, value in shown.items() if name not in self._told]
        for start in range(0, len(fresh), _OTHERS):
            self._client.log_batch(self._run, params=fresh[start : start + _OTHERS])
        self._tag({f"changed.{name}": value for name, value in changed.items()})
        self._told |= shown

    def send(self, rows: Sequence[Row]) -> None:
        # Its database takes the same point twice for one, so a batch may be sent again.
        self._metrics(
            [Metric(_key(n), v, int(row.time * 1000), row.step) for row in rows for n, v in row.values.items()]
        )

    def summarize(self, summary: Summary) -> None:
        self._metrics(
            [Metric(_key(f"facts/{f.name}"), f.value, int(f.time * 1000), summary.step) for f in summary.facts]
        )
        self._tag(
            {
                "dpotui.state": summary.state,
                **{f"gate.{name}": verdict for name, verdict in summary.verdicts.items()},
                **{f"artifact.{a['name']}": f"{a['kind']} sha256:{a['sha256']}" for a in summary.artifacts},
            }
        )

    def close(self, state: str) -> None:
        assert self._client is not None
        if state != "running":
            status = _ENDED.get(state, "KILLED")
            self._client.set_terminated(self._run, status=status, end_time=int(time.time() * 1000))

    def _metrics(self, metrics: list[Any]) -> None:
        assert self._client is not None
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self._run, metrics=metrics[start : start + _METRICS])

    def _tag(self, tags: Mapping[str, str]) -> None:
        assert self._client is not None
        listed = [RunTag(_key(name), value[:_TAG]) for name, value in tags.items()]
        for start in range(0, len(listed), _OTHERS):
            self._client.log_batch(self._run, tags=listed[start : start + _OTHERS])


def _key(name: str) -> str:
    """Letters that MLflow allows in names, and not more than it takes."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250]

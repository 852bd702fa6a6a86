"""A workspace that is copied goes on with its own models, not with those where it came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx.core as mx

from core.config.models import Adapter
from core.model_folder import read_shape
from core.models.adapters import make_trainable, save_adapters
from core.models.load import adapted, load
from core.store import open_store
from core.workspace import create_workspace, name_from, path_from
from tests.core.training.tiny import workspace


def test_an_adapter_stands_on_the_model_beside_it(tmp_path: Path) -> None:
    here, db = workspace(tmp_path / "here")
    db.close()
    base = here.root / "models/tiny"
    loaded = load(base)
    make_trainable(loaded.model, Adapter())
    folder = here.outputs / "dpo" / "checkpoint-3"
    folder.mkdir(parents=True)
    save_adapters(loaded.model, Adapter(), base, folder)
    assert json.loads((folder / "adapter_config.json").read_text())["model"] == "models/tiny"
    assert adapted(folder) == base.resolve()
    shutil.copytree(here.root, tmp_path / "there")
    shutil.rmtree(here.root)
    moved = tmp_path / "there" / "outputs" / "dpo" / "checkpoint-3"
    assert adapted(moved) == (tmp_path / "there/models/tiny").resolve()
    assert read_shape(moved).blocks > 0
    assert mx.isfinite(load(moved).model(mx.array([[1, 2, 3]]))).all()
    # Another host that shares the work has the folders, and no records.
    (tmp_path / "there" / "runs.db").unlink()
    assert adapted(moved) == (tmp_path / "there/models/tiny").resolve()


def test_what_lies_elsewhere_is_named_in_full(tmp_path: Path) -> None:
    here = create_workspace(tmp_path / "here")
    open_store(here.database, create=True).close()
    assert name_from(here.outputs, tmp_path / "hub/model") == str((tmp_path / "hub/model").resolve())
    assert path_from(here.outputs, "/hub/model") == Path("/hub/model")
    assert name_from(tmp_path / "nowhere", here.outputs) == str((here.outputs).resolve())

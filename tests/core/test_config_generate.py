"""generate_config.yaml: recipes that share the responses, and an answer for every line that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.config import GenerateConfig, keys, load_config, missing_files
from core.errors import UserError
from core.workspace import create_workspace

SHIPPED = Path(__file__).parents[2] / "configs" / "generate_config.yaml"
BASE = """\
model:
  base_model: "models/base"
data:
  prompts_file: "data/prompts.jsonl"
  output_file: "data/candidates.jsonl"
generation:
  responses_per_prompt: 5
  recipes:
    careful: {temperature: 0.5, top_p: 0.9}
    wide: {temperature: 1.1, min_p: 0.05}
logging:
  output_dir: "outputs/x"
"""


def load(tmp_path: Path, text: str = BASE, *overrides: str) -> GenerateConfig:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return load_config(path, GenerateConfig, overrides)


def refused(tmp_path: Path, text: str = BASE, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as told:
        load(tmp_path, text, *overrides)
    return str(told.value).replace(f"{tmp_path}/", "").splitlines()


def test_the_shipped_file_says_what_is_so_anyway() -> None:
    config = load_config(SHIPPED, GenerateConfig)
    bare = {name: getattr(config, name).model_dump(mode="json") for name in ("model", "logging")}
    files = {name: getattr(config.data, name) for name in ("prompts_file", "output_file")}
    assert GenerateConfig.model_validate({**bare, "data": files}) == config
    assert GenerateConfig.model_validate(config.model_dump(mode="json")) == config
    text = SHIPPED.read_text()
    for key in keys(GenerateConfig):
        name = key.path.rsplit(".", 1)[-1]
        assert key.meaning and key.allowed
        if key.path.startswith(("data.", "generation.")) and ".NAME." not in key.path:
            assert name in text, key.path


@pytest.mark.parametrize(
    ("total", "recipes", "counts"),
    [
        (4, {}, {"default": 4}),
        (5, {"a": {}, "b": {}}, {"a": 3, "b": 2}),
        (5, {"a": {"count": 4}, "b": {}}, {"a": 4, "b": 1}),
        (6, {"a": {"count": 1}, "b": {}, "c": {}}, {"a": 1, "b": 3, "c": 2}),
        (2, {"a": {"count": 1}, "b": {"count": 1}}, {"a": 1, "b": 1}),
    ],
)
def test_recipes_share_the_responses(tmp_path: Path, total: int, recipes: dict[str, Any], counts: Any) -> None:
    raw = load(tmp_path).model_dump(mode="json")
    raw["generation"] |= {"responses_per_prompt": total, "recipes": recipes}
    assert GenerateConfig.model_validate(raw).generation.counts() == counts


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("top_p: 0.9", "topp: 0.9",
         "c.yaml:9: generation.recipes.careful.topp: unknown key; did you mean generation.recipes.careful.top_p?"),
        ("top_p: 0.9", "prompts_file: a",
         "c.yaml:9: generation.recipes.careful.prompts_file: unknown key; did you mean data.prompts_file?"),
        ("top_p: 0.9", "top_p: 1.9",
         "c.yaml:9: generation.recipes.careful.top_p: must be a number > 0 and ≤ 1 or nothing, not 1.9"),
        ("{temperature: 1.1, min_p: 0.05}", "7",
         "c.yaml:10: generation.recipes.wide: must be a section with keys (model, count, temperature, top_p, min_p,"
         " top_k, repetition_penalty, max_tokens), not 7"),
        ("wide:", '"so wide":',
         "c.yaml:10: generation.recipes.so wide.[key]: 'so wide' is no name: letters, digits, '_' and '-' are, at most"
         " 40"),
        ("careful: {", "careful: {count: 5, ",
         "c.yaml:7: generation.responses_per_prompt: is 5, too few for 2 recipes with counts that make 5: at least 6"),
        ("temperature: 0.5", "temperature: 0",
         "c.yaml:9: generation.recipes.careful: temperature 0 gives the same response 3 times: take one of it, or a"
         " higher one"),
        ("data/candidates.jsonl", "data/prompts.jsonl",
         "c.yaml:5: data.output_file: is the prompts file, which it would overwrite: name another file"),
        ("recipes:", "reciepes:", "c.yaml:8: generation.reciepes: unknown key; did you mean generation.recipes?"),
        ("responses_per_prompt: 5", "batch_size: many",
         "c.yaml:7: generation.batch_size: must be a whole number from 1 to 4096, or auto, not 'many'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert refused(tmp_path, BASE.replace(old, new)) == [line]


def test_counts_that_do_not_agree(tmp_path: Path) -> None:
    text = BASE.replace("careful: {", "careful: {count: 2, ").replace("wide: {", "wide: {count: 2, ")
    assert refused(tmp_path, text) == [
        "c.yaml:7: generation.responses_per_prompt: is 5, and the recipes' counts make 4: let them agree"
    ]


def test_overrides_reach_into_recipes(tmp_path: Path) -> None:
    config = load(tmp_path, BASE, "generation.recipes.wide.top_k=40", "generation.recipes.third.count=1")
    assert config.generation.recipes["wide"].top_k == 40
    assert config.generation.counts() == {"careful": 2, "wide": 2, "third": 1}


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("generation.recipes=3",
         "generation.recipes maps names to sections: name a key in one, such as generation.recipes.NAME.model"),
        ("generation.recipes.wide=3",
         "generation.recipes.wide is a section: name a key in it, such as generation.recipes.wide.model"),
        ("generation.recipes.wide.tempratur=1", "unknown key; did you mean generation.recipes.wide.temperature?"),
        ("generation.recipes.wide.temperature=hot",
         "generation.recipes.wide.temperature: must be a number from 0 to 10 or nothing, not 'hot'"),
    ],
)  # fmt: skip
def test_overrides_that_are_wrong(tmp_path: Path, override: str, line: str) -> None:
    assert refused(tmp_path, BASE, override) == [f"--set {override}: {line}"]


def test_models_that_a_run_reads(tmp_path: Path) -> None:
    space = create_workspace(tmp_path / "w")
    one = load(tmp_path, BASE, "generation.recipes.wide.model=models/other")
    assert one.reads() == {
        "data.prompts_file": "data/prompts.jsonl",
        "model.base_model": "models/base",
        "generation.recipes.wide.model": "models/other",
    }
    assert any(
        sentence.startswith("generation.recipes.wide.model: models/other does not exist")
        for sentence in missing_files(one, space)
    )
    both = load(tmp_path, BASE, "generation.recipes.wide.model=a", "generation.recipes.careful.model=b")
    assert "model.base_model" not in both.reads()

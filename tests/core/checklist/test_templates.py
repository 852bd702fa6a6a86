"""The checklists that ship hold every item of the workflow, word for word."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from core.checklist import Item, load_documents, load_tree
from core.workspace import Workspace, templates
from tests.core.checklist.conftest import Bench

# kind of node, depth and text of everything, as the workflow has it.
OUTLINE = """
Pre-DPO Planning Checklist
  # Model Selection
    Base model selected and validated
    Model size appropriate for compute budget
    License compatible with use case
    Pre-training data understood
  # Data Planning
    Target domain identified
    Prompt distribution defined
    Annotation strategy selected (human/AI/hybrid)
    Target pair count determined (≥1000)
    Budget allocated for data collection
  # Infrastructure
    Training compute secured (GPUs/TPUs)
    Storage for checkpoints and logs
    Experiment tracking configured (W&B, MLflow)
    Version control for code and configs
  # Evaluation
    Benchmark suite selected
    Baseline metrics defined
    Human evaluation protocol designed
    Success criteria documented
Stage 1: SFT Preparation
  Base model downloaded and verified
  SFT training data prepared and validated
  Train/validation split created (e.g., 90/10)
  Training configuration finalized
  SFT training completed successfully
  Validation perplexity acceptable
  Capability benchmarks run and recorded
  Baseline metrics documented:
    MMLU score: _____
    HumanEval pass@1: _____
    GSM8K accuracy: _____
    Other domain metrics: _____
  Model checkpoint saved with clear naming
  Training logs archived
Stage 2: Preference Data Generation
  Prompt dataset collected (≥1000 unique prompts)
  Response generation strategy defined
  Multiple responses per prompt generated (≥2)
  Annotation guidelines created
  Annotators trained (if human annotation)
  Preference pairs collected
  Data format validated (JSONL):
  Quality validation completed:
    Preference gap calculated: _____ (target ≥0.15)
    Pair count: _____ (target ≥1000)
    Decontamination score: _____ (target ≥0.9)
  Conflicting preferences resolved
  Data splits created (80% train, 20% validation)
  Data stored with version control
Stage 3: Model Initialization
  Reference model loaded from SFT checkpoint
  Reference model frozen (no gradients)
  Policy model initialized as copy of reference
  Model architectures verified to match
  Tokenizer consistency checked
  Initial KL divergence calculated (should be ≈0)
  DPO trainer initialized
  Configuration validated
Stage 4: Preference Modeling
  Reward model architecture selected
  Training data loaded (preference pairs)
  Train/validation split configured
  Reward model training completed
  Training accuracy: _____ (target ≥70%)
  Validation accuracy: _____ (target ≥70%)
  Overfitting checked (train/val gap <10%)
  Reward model checkpoint saved
  Optional: Low-quality pairs filtered
Stage 5: DPO Optimization
  Hyperparameters configured (see config template below)
  Performance optimization completed:
    Hardware selected based on model size
    Batch size optimized (M4 Max: 32, M3 Ultra: 4)
    Environment variables set (MLX_METAL_PREALLOCATE, MLX_METAL_FAST_SYNCH)
    Work distribution configured if distributed (65/35 split)
  Training loop implemented
  Logging configured (W&B, TensorBoard)
  Checkpoint saving strategy defined
  DPO training started
  Training metrics monitored:
    Preference accuracy trending up
    KL divergence ≤0.1
    Training loss decreasing
    Throughput (examples/sec): _____
  Validation evaluation run
  Quality gates checked:
    KL divergence: _____ (target ≤0.1)
    Preference gap: _____ (target ≥0.15)
  Best checkpoint identified
  Training logs saved
Stage 6: Iterative Training
  Current iteration metrics recorded
  Weaknesses identified from evaluation
  Additional preference data collected (if needed)
  Next iteration DPO training configured
  Iteration training completed
  Metrics compared to previous iteration:
    Iteration 1 score: _____
    Iteration 2 score: _____
    Iteration 3 score: _____
  Convergence assessed
  Best iteration checkpoint identified
  Decision made (continue/stop/rollback)
Stage 7: Evaluation & Monitoring
  Final model checkpoint loaded
  Capability benchmarks run:
    MMLU: _____ (baseline: _____)
    HumanEval: _____ (baseline: _____)
    GSM8K: _____ (baseline: _____)
    Domain-specific: _____ (baseline: _____)
  Capability retention calculated:
    Retention rate: _____ % (target ≥95%)
  Alignment evaluation completed:
    Win rate vs baseline: _____ % (target >50%)
    Human eval score: _____ /10
    Qualitative assessment: _____
  Quality thresholds verified:
    Final KL divergence: _____ (≤0.1)
    Preference gap maintained: _____ (≥0.15)
    No eval contamination detected
  All success criteria met
  Evaluation report written
  Deployment decision made
""".strip()

# The names of facts that are measured now or will be.
FACTS = {
    f"{stage}.{name}"
    for stage, names in {
        "sft": "base_model_verified data_valid validation_share config_valid finished perplexity mmlu humaneval gsm8k"
        " domain checkpoint_saved logs_saved",
        "data": "unique_prompts responses_per_prompt format_valid pairs preference_gap decontamination conflicts"
        " validation_share versioned strategy guidelines",
        "init": "reference_loaded reference_frozen policy_copied architectures_match tokenizers_match kl_divergence"
        " trainer_ready config_valid",
        "reward": "architecture data validation_share train_accuracy validation_accuracy overfitting_gap finished"
        " checkpoint_saved filtered",
        "dpo": "config_valid batch_size environment distribution started accuracy_trend kl_divergence loss_trend"
        " throughput validated preference_gap best_checkpoint logs_saved logging checkpoints",
        "iteration": "1.score 2.score 3.score metrics weaknesses data config finished convergence best decision",
        "eval": "checkpoint_loaded mmlu humaneval gsm8k domain retention win_rate human_score kl_divergence"
        " preference_gap decontamination",
    }.items()
    for name in names.split()
}


@pytest.fixture(scope="module")
def roots() -> list[Item]:
    return load_tree(Workspace(templates().parent))


def outline(item: Item, depth: int = 0) -> list[str]:
    line = "  " * depth + ("# " if item.kind == "group" else "") + item.text
    return [line] + [row for child in item.children for row in outline(child, depth + 1)]


def test_every_item_word_for_word(roots: list[Item]) -> None:
    assert "\n".join(row for root in roots for row in outline(root)) == OUTLINE
    assert Counter(i.kind for root in roots for i in root.walk()) == {"stage": 8, "group": 4, "item": 114}
    assert [root.stage for root in roots] == list(range(8))


def test_every_node_has_an_id_of_its_own(roots: list[Item]) -> None:
    nodes = [item for root in roots for item in root.walk()]
    assert all(node.own_id for node in nodes)
    assert max(Counter(node.id for node in nodes).values()) == 1


def test_all_facts_are_bound_and_no_other(roots: list[Item]) -> None:
    assert {name for root in roots for item in root.walk() for name in item.facts} == FACTS


def test_the_code_sample(roots: list[Item]) -> None:
    samples = {item.id: item.code for root in roots for item in root.walk() if item.code}
    assert samples == {"data.format": '{"prompt": "...", "chosen": "...", "rejected": "..."}'}


def test_targets_and_units(roots: list[Item]) -> None:
    targets = {item.id: str(item.target) for root in roots for item in root.walk() if item.target}
    assert targets == {
        "planning.pair_target": "≥1000",
        "sft.split": ">0",
        "data.prompts": "≥1000",
        "data.responses": "≥2",
        "data.collected": ">0",
        "data.preference_gap": "≥0.15",
        "data.pairs": "≥1000",
        "data.decontamination": "≥0.9",
        "data.conflicts": "=0",
        "data.splits": "≈0.2",
        "init.kl_divergence": "≈0",
        "reward.data": ">0",
        "reward.split": ">0",
        "reward.train_accuracy": "≥70%",
        "reward.validation_accuracy": "≥70%",
        "reward.overfitting": "<10%",
        "dpo.checkpoints": ">0",
        "dpo.metrics.kl_divergence": "≤0.1",
        "dpo.gates.kl_divergence": "≤0.1",
        "dpo.gates.preference_gap": "≥0.15",
        "eval.retention": "≥95%",
        "eval.win_rate": ">50%",
        "eval.kl_divergence": "≤0.1",
        "eval.preference_gap": "≥0.15",
        "eval.contamination": "=1",
    }
    units = {item.id: item.unit for root in roots for item in root.walk() if item.unit not in ("", "%")}
    assert units == {"dpo.metrics.throughput": "examples/sec", "eval.human_score": "/10"}
    tolerances = {i.id: str(i.target.tolerance) for r in roots for i in r.walk() if i.target and i.target.tolerance}
    assert tolerances == {"init.kl_divergence": "0.0001", "data.splits": "0.05"}


def test_two_blanks_have_a_fact_each(roots: list[Item]) -> None:
    blanks = {i.id: [(b.label, b.fact) for b in i.blanks] for r in roots for i in r.walk() if len(i.blanks) > 1}
    assert blanks["eval.mmlu"] == [("MMLU", "eval.mmlu"), ("baseline", "sft.mmlu")]
    assert blanks["eval.domain"] == [("Domain-specific", "eval.domain"), ("baseline", "sft.domain")]
    assert len(blanks) == 4


def test_rendered_the_comments_are_invisible(roots: list[Item]) -> None:
    for document in load_documents(Workspace(templates().parent)):
        shown = re.sub(r"<!--.*?-->", "", document.text)
        assert "id:" not in shown
        assert "fact:" not in shown


def test_untouched_export_is_the_template(bench: Bench) -> None:
    exports = bench.exports()
    assert len(exports) == 8
    for name, text in exports.items():
        assert text.encode() == (templates() / "checklists" / name.rpartition("/")[2]).read_bytes()

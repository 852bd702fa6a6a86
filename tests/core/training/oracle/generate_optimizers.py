"""Write optimizers.json: weights after each of six updates by torch's optimizers, in float32.

Run with torch 2.13: `python tests/core/training/oracle/generate_optimizers.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

# name of the case -> torch's class, its arguments, and the configuration that must give the same
CASES = {
    "adamw": ("AdamW", {"weight_decay": 0.1}, "adamw", {}, 0.1),
    "adamw with options": (
        "AdamW", {"weight_decay": 0.0, "betas": [0.8, 0.95], "eps": 1e-5},
        "adamw", {"betas": [0.8, 0.95], "eps": 1e-5}, 0.0,
    ),
    "adam": ("Adam", {}, "adam", {}, 0.0),
    "sgd": ("SGD", {"weight_decay": 0.1}, "sgd", {}, 0.1),
    "sgd with momentum": ("SGD", {"momentum": 0.9, "weight_decay": 0.1}, "sgd", {"momentum": 0.9}, 0.1),
    "sgd with nesterov": (
        "SGD", {"momentum": 0.9, "nesterov": True}, "sgd", {"momentum": 0.9, "nesterov": True}, 0.0,
    ),
    "rmsprop": ("RMSprop", {"alpha": 0.9, "eps": 1e-6}, "rmsprop", {"alpha": 0.9, "eps": 1e-6}, 0.0),
    "adagrad": ("Adagrad", {"eps": 1e-8}, "adagrad", {}, 0.0),
    "adadelta": ("Adadelta", {}, "adadelta", {}, 0.0),
    "adadelta with options": ("Adadelta", {"rho": 0.8, "eps": 1e-4}, "adadelta", {"rho": 0.8, "eps": 1e-4}, 0.0),
    "adamax": ("Adamax", {}, "adamax", {}, 0.0),
    "adamax with options": (
        "Adamax", {"betas": [0.8, 0.95], "eps": 1e-4}, "adamax", {"betas": [0.8, 0.95], "eps": 1e-4}, 0.0,
    ),
    "adafactor": ("Adafactor", {"eps": [1e-30, 1e-3]}, "adafactor", {"scale_parameter": True}, 0.0),
    "muon": ("Muon", {"weight_decay": 0.0, "momentum": 0.9, "nesterov": True}, "muon", {"momentum": 0.9}, 0.0),
}  # fmt: skip
RATES = [0.0, 0.01, 0.02, 0.015, 0.01, 0.005]


def main() -> None:
    torch.manual_seed(0)
    start = {"layers.0.weight": torch.randn(3, 4), "layers.0.bias": torch.randn(5)}
    grads = [
        {name: torch.randn_like(value) * 10.0 ** torch.randint(-4, 2, value.shape) for name, value in start.items()}
        for _ in RATES
    ]
    found = []
    for case, (kind, arguments, name, config, decay) in CASES.items():
        # torch's Muon takes matrices only.
        weights = {
            key: value.clone().requires_grad_() for key, value in start.items() if kind != "Muon" or value.ndim == 2
        }
        optimizer = getattr(torch.optim, kind)(list(weights.values()), lr=0.1, **arguments)
        steps = []
        for rate, gradient in zip(RATES, grads, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
            for key, value in weights.items():
                value.grad = gradient[key].clone()
            optimizer.step()
            steps.append({key: value.detach().tolist() for key, value in weights.items()})
        found.append({"case": case, "optimizer": name, "options": config, "weight_decay": decay, "weights": steps})
    written = {
        "torch": torch.__version__,
        "rates": RATES,
        "start": {name: value.tolist() for name, value in start.items()},
        "gradients": [{name: value.tolist() for name, value in gradient.items()} for gradient in grads],
        "cases": found,
    }
    (Path(__file__).parent / "optimizers.json").write_text(json.dumps(written) + "\n", "utf-8")


if __name__ == "__main__":
    main()

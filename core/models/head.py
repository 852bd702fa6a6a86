"""From what enters the output head to log-probs and KL: chunk by chunk, so that full logits never exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from core.models.body import Body, evaluating
from core.models.eager import fresh, lazily, with_vjp
from core.models.gradient_checkpointing import checkpointed
from core.models.vocabulary import exact_kl, target_logps

Array = mx.array

# Logits that exist at a time: 32 MB and 64 MB in float32. With fewer rows the matrix products are slower.
ENTRIES_CPU, ENTRIES_GPU = 1 << 23, 1 << 24
LEAST = 32  # positions


class Head:
    """Log-probs at chosen positions, (N, D) features at a time.

    The logits are those of the model's own code after its body: tied, biased, quantized or with an adapter, scaled or
    capped. Make it when it is settled what of the model is trained. Where a model has no body that can be called
    (`split` is False), its features are its logits: the head sees every position, and chunks save nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.body = Body(model)
        self.split = self.body.found
        # Here and not when it is first wanted: dropout would draw.
        with evaluating(model):
            self._vocabulary: int = model(mx.zeros((1, 1), mx.int32)).shape[-1]
        # A tied embedding is read by the head; the last norm belongs to the body.
        self._outside = self._trained_outside().keys() if self.split else set()
        self._names = self._trained_by_name() if self.split else []

    def features(self, ids: Array, positions: Array, cache: list[Any] | None = None) -> Array:
        """What enters the head at these positions, (N, D); without a body the logits themselves, (N, V).

        Args:
            ids: (R, T) token ids.
            positions: (N,) indices into the R*T positions.
            cache: one object a block, as mlx-lm has it.
        """
        whole = self.body if self.split else self._model
        everywhere = whole(ids) if cache is None else whole(ids, cache)
        rows: Array = everywhere.reshape(-1, everywhere.shape[-1])[positions]
        return rows

    def logits(self, features: Array) -> Array:
        """Features to logits, (N, V) in float32."""
        return (self.body.head(features) if self.split else features).astype(mx.float32)

    def logps(self, features: Array, targets: Array) -> tuple[Array, Array]:
        """log p of each target, and log Σ_v p_v² without gradient; (N, D) and (N,) -> two of (N,) in float32.

        Differentiable with regard to features and to the head's trainable parameters.
        """
        trained = self._trained_outside() if self.split else {}
        assert trained.keys() == self._outside, "what is trained was changed after the head was found"
        with lazily(self.split and any(map(checkpointed, self.body.blocks))):
            return self._trained(features, targets, trained) if self._names else self._frozen(features, targets)

    def measure(self, features: Array, targets: Array) -> tuple[Array, Array]:
        """The same without gradient, evaluated."""
        parts = []
        for rows in self._chunks(features):
            parts.append(target_logps(self.logits(features[rows]), targets[rows]))
            mx.eval(parts[-1])
        return mx.concatenate([p[0] for p in parts]), mx.concatenate([p[1] for p in parts])

    def kl(
        self, ours: Array, theirs: Array, reference: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> Array:
        """Exact KL(p ‖ q) in nats at (N,) positions, from the (N, D) features of p and of q; evaluated.

        Args:
            reference: within it the head is that of q.
        """
        parts = []
        for rows in self._chunks(ours):
            policy = self.logits(ours[rows])
            mx.eval(policy)
            with reference():
                other = self.logits(theirs[rows])
                mx.eval(other)
            parts.append(exact_kl(policy, other))
            mx.eval(parts[-1])
        return mx.concatenate(parts)

    def _chunks(self, features: Array) -> Iterator[slice]:
        entries = ENTRIES_GPU if mx.default_device() == mx.Device(mx.gpu) else ENTRIES_CPU
        size = max(LEAST, entries // self._vocabulary)
        for start in range(0, features.shape[0], size):
            yield slice(start, start + size)

    def _frozen(self, features: Array, targets: Array) -> tuple[Array, Array]:
        """The head is not trained, so d log p / d features is known in the forward pass and only scaled afterwards."""

        def forward(features: Array) -> tuple[Array, Array, Array]:
            parts: list[list[Array]] = []
            for rows in self._chunks(features):
                chunk = features[rows]
                if parts:
                    # Otherwise all chunks are in memory at once.
                    (chunk,) = mx.depends([chunk], parts[-1])
                parts.append(self._chunk_gradient(fresh(chunk), targets[rows]))
            logps, squares, gradients = (mx.concatenate([part[i] for part in parts]) for i in range(3))
            return logps, squares, gradients

        def backward(features: Array, cotangents: Any, outputs: Any) -> Array:
            gradient: Array = cotangents[0][:, None] * outputs[2]
            return gradient.astype(features.dtype)

        logps, squares, _ = with_vjp(forward, backward)(features)
        return logps, mx.stop_gradient(squares)

    def _chunk_gradient(self, features: Array, targets: Array) -> list[Array]:
        ones = mx.ones(targets.shape, mx.float32)

        def function(features: Array) -> tuple[Array, Array]:
            return target_logps(self.logits(features), targets)

        (logps, squares), (gradient,) = mx.vjp(function, [features], [ones, mx.zeros_like(ones)])
        return [fresh(array) for array in (logps, squares, gradient)]

    def _trained(self, features: Array, targets: Array, trained: dict[str, Array]) -> tuple[Array, Array]:
        """Logits are computed again in the backward pass: the gradient of a weight depends on what comes after."""

        def chunk(rows: slice) -> Callable[..., tuple[Array, Array]]:
            def function(features: Array, *weights: Array) -> tuple[Array, Array]:
                with self._weights(self._names, weights):
                    return target_logps(self.logits(features), targets[rows])

            return function

        def forward(features: Array, *weights: Array) -> tuple[Array, Array]:
            own = [fresh(weight) for weight in weights]
            parts: list[tuple[Array, ...]] = []
            for rows in self._chunks(features):
                part = features[rows]
                if parts:
                    (part,) = mx.depends([part], list(parts[-1]))
                parts.append(tuple(map(fresh, chunk(rows)(fresh(part), *own))))
            return mx.concatenate([p[0] for p in parts]), mx.concatenate([p[1] for p in parts])

        def backward(primals: Any, cotangents: Any, outputs: Any) -> Any:
            features, *weights = primals
            own = [fresh(weight) for weight in weights]
            to_features: list[Array] = []
            to_weights: list[Array] = []
            for rows in self._chunks(features):
                part, cotangent = features[rows], cotangents[0][rows]
                if to_features:
                    (part,) = mx.depends([part], [to_features[-1], *to_weights])
                given = [fresh(cotangent), mx.zeros_like(cotangent)]
                _, found = mx.vjp(chunk(rows), [fresh(part), *own], given)
                to_features.append(fresh(found[0]))
                found = [fresh(value.astype(mx.float32)) for value in found[1:]]
                to_weights = [fresh(a + b) for a, b in zip(to_weights, found, strict=True)] if to_weights else found
            return (
                mx.concatenate(to_features),
                *(total.astype(w.dtype) for total, w in zip(to_weights, weights, strict=True)),
            )

        logps, squares = with_vjp(forward, backward)(features, *(trained[name] for name in self._names))
        return logps, mx.stop_gradient(squares)

    def _trained_outside(self) -> dict[str, Array]:
        """The trainable parameters that no block has."""
        blocks = {id(value) for block in self.body.blocks for _, value in tree_flatten(block.parameters())}
        return {k: v for k, v in tree_flatten(self._model.trainable_parameters()) if id(v) not in blocks}

    def _trained_by_name(self) -> list[str]:
        if not self._outside:
            return []
        width = self.body(mx.zeros((1, 1), mx.int32)).shape[-1]
        probe = mx.random.normal((2, width), key=mx.random.key(0))
        return self.trained_in(lambda: self.logits(probe))

    def trained_in(self, function: Callable[[], Array]) -> list[str]:
        """Names of the trainable parameters outside of the blocks that `function`'s result depends on."""
        outside = self._trained_outside()
        if not outside:
            return []
        names, weights = list(outside), list(outside.values())

        def of_weights(*weights: Array) -> Array:
            with self._weights(names, weights):
                return function()

        cotangent = mx.random.normal(function().shape, key=mx.random.key(1))
        _, found = mx.vjp(lambda *weights: of_weights(*weights).astype(mx.float32), weights, [cotangent])
        return [name for name, value in zip(names, found, strict=True) if bool((value != 0).any())]

    @contextmanager
    def _weights(self, names: Sequence[str], weights: Sequence[Array]) -> Iterator[None]:
        every = dict(tree_flatten(self._model.parameters()))
        own = [(name, every[name]) for name in names]
        self._model.update(tree_unflatten(list(zip(names, weights, strict=True))))
        try:
            yield
        finally:
            self._model.update(tree_unflatten(own))

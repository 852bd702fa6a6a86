"""Split a model into body and output head, so that only the positions that matter reach the vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

Array = mx.array


# Entries of the vocabulary summed one after the other.
BLOCK = 256


def vocabulary_sum(values: Array) -> Array:
    """Σ_v of (N, V) float32 values -> (N, 1), block by block.

    MLX on the CPU sums a row one after the other: over a vocabulary of 49k that loses 1e-5 and more of the sum, always
    to one side.
    """
    whole = values.shape[-1] // BLOCK * BLOCK
    blocks = values[:, :whole].reshape(values.shape[0], -1, BLOCK).sum(axis=-1).sum(axis=-1, keepdims=True)
    if whole == values.shape[-1]:
        return blocks
    return blocks + values[:, whole:].sum(axis=-1, keepdims=True)


def log_normalizer(logits: Array) -> Array:
    """log Σ_v exp(logits_v) of (N, V) float32 logits -> (N, 1).

    MLX's logsumexp is biased on the CPU, by 5e-5 and more a token over a vocabulary of 49k, which adds up over a
    response. On a GPU the reduction is a tree and exact enough.
    """
    if mx.default_device() == mx.Device(mx.gpu):
        return mx.logsumexp(logits, axis=-1, keepdims=True)
    largest = mx.stop_gradient(logits.max(axis=-1, keepdims=True))
    return largest + mx.log(vocabulary_sum(mx.exp(logits - largest)))


class Logits:
    """Logits of chosen positions of a batch: `(ids, positions) -> (N, V)` in float32.

    Most models of mlx-lm are `head(body(ids))` with nothing in between. Whether this one is, is found out by
    computing both ways once; a model that does more (caps or scales its logits) takes the plain way, in which the
    head sees every position.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._head = self._find_head(model)

    @property
    def split(self) -> bool:
        return self._head is not None

    def features(self, ids: Array, positions: Array) -> Array:
        """What enters the head at these positions, (N, D); on the plain way the logits themselves, (N, V).

        Args:
            ids: (R, T) token ids.
            positions: (N,) indices into the R*T positions.
        """
        everywhere = self._model(ids) if self._head is None else self._model.model(ids)
        rows: Array = everywhere.reshape(-1, everywhere.shape[-1])[positions]
        return rows

    def project(self, features: Array) -> Array:
        """Features to logits, (N, V) in float32."""
        logits = features if self._head is None else self._head(features)
        return logits.astype(mx.float32)

    def __call__(self, ids: Array, positions: Array) -> Array:
        return self.project(self.features(ids, positions))

    @staticmethod
    def _find_head(model: nn.Module) -> Callable[[Array], Array] | None:
        body = getattr(model, "model", None)
        embedding = getattr(body, "embed_tokens", None)
        candidates: list[Callable[[Array], Array]] = []
        if "lm_head" in model:
            # Looked up at each call: adapters replace the module.
            candidates.append(lambda hidden: model.lm_head(hidden))
        elif hasattr(embedding, "as_linear"):
            candidates.append(lambda hidden: model.model.embed_tokens.as_linear(hidden))
        if body is None or not callable(body):
            return None
        probe = mx.arange(1, 9)[None]
        training = model.training
        model.eval()
        try:
            plain = model(probe)
            for head in candidates:
                logits = head(body(probe))
                # To the bit: it is the same computation, and a cap changes small logits by next to nothing.
                if mx.array_equal(logits, plain):
                    return head
        except (TypeError, ValueError, AttributeError):
            return None
        finally:
            model.train(training)
        return None

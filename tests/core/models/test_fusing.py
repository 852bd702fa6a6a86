"""Fusing: the sum in float32, rounded once, on every kind of layer, quantized again or written out."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.switch_layers import SwitchLinear

from core.config.models import Adapter
from core.errors import UserError
from core.models.adapters import add_adapters
from core.models.fusing import fuse, number_type, plain_layer, plain_weight
from tests.core.models.architectures import build
from tests.core.models.test_adapter_layers import X, adapted, answer
from tests.core.models.test_adapters import EVERYWHERE, answers, with_adapter


class Holder(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer


@pytest.mark.parametrize("form", ["lora", "dora"])
@pytest.mark.parametrize("kind", ["linear", "biased", "embedding", "switch"])
@pytest.mark.parametrize("quantized", [False, True])
def test_a_fused_layer_answers_as_before(kind: str, form: str, quantized: bool) -> None:
    if form == "dora" and kind in ("embedding", "switch"):
        pytest.skip("mlx-lm has no DoRA there, or not as part of a matrix product")
    name = f"quantized {kind}" if quantized else kind
    holder = Holder(adapted(name, form))
    before = np.array(answer(holder.layer, X, kind))
    fuse(holder, dequantize=True)
    assert type(holder.layer) is {"embedding": nn.Embedding, "switch": SwitchLinear}.get(kind, nn.Linear)
    assert ("bias" in holder.layer) == (kind in ("biased", "switch"))
    np.testing.assert_allclose(np.array(answer(holder.layer, X, kind)), before, rtol=1e-4, atol=1e-5)
    if quantized:
        again = Holder(adapted(name, form))
        fuse(again)
        assert (again.layer.bits, again.layer.group_size) == (4, 32)
        after = np.array(answer(again.layer, X, kind))
        assert 0 < np.linalg.norm(after - before) / np.linalg.norm(before) < 0.15


@pytest.mark.parametrize("form", ["lora", "dora"])
def test_half_precision_is_rounded_once(form: str) -> None:
    layer = adapted("linear", form, mx.bfloat16)
    exact = adapted("linear", form, mx.bfloat16)
    exact.set_dtype(mx.float32)
    holder, other = Holder(layer), Holder(exact)
    fuse(holder)
    fuse(other)
    assert holder.layer.weight.dtype == mx.bfloat16
    assert mx.array_equal(holder.layer.weight, other.layer.weight.astype(mx.bfloat16))


@pytest.mark.parametrize("what", list(EVERYWHERE))
def test_whole_models(what: str) -> None:
    model = with_adapter(what, dropout=0.0)
    before = answers(model)
    fuse(model, dequantize=True)
    assert not any("lora_a" in module or hasattr(module, "bits") for module in model.modules())
    # A DoRA of mlx-lm on an embedding normalizes its rows, and the fused one those of the matrix: the same.
    np.testing.assert_allclose(answers(model), before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", ["affine", "mxfp4", "nvfp4", "mxfp8"])
def test_every_way_to_quantize(mode: str) -> None:
    mx.random.seed(1)
    plain = nn.Linear(64, 32)
    options = {"group_size": 32, "bits": 4} if mode == "affine" else {}
    layer = plain.to_quantized(mode=mode, **options)
    written = plain_layer(layer)
    assert type(written) is nn.Linear
    assert written.weight.dtype == number_type(layer) == (mx.float32 if mode == "affine" else mx.bfloat16)
    np.testing.assert_allclose(
        np.array(X @ plain_weight(layer).T + layer.bias), np.array(layer(X)), rtol=1e-4, atol=1e-5
    )
    assert plain_layer(plain) is plain


def test_experts_with_a_scale_of_their_own() -> None:
    mx.random.seed(1)
    plain = SwitchLinear(64, 32, 3)
    plain.weight = plain.weight * mx.array([1.0, 1e-3, 50.0])[:, None, None]
    layer = plain.to_quantized(mode="nvfp4", group_size=16, bits=4, global_scale=True)
    error = np.linalg.norm(np.array(plain_weight(layer) - plain.weight), axis=(1, 2))
    assert (error / np.linalg.norm(np.array(plain.weight), axis=(1, 2)) < 0.15).all()


def test_layers_that_cannot_be_written_out_are_named() -> None:
    class Own(nn.QuantizedLinear):
        pass

    model = build("llama")
    model.lm_head = Own(32, 64, group_size=32)
    add_adapters(model, Adapter(num_layers=-1))
    with pytest.raises(UserError, match=r"model\.dequantize: weights of a Own cannot be written out: set it to false"):
        fuse(model, dequantize=True)

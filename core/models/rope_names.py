"""transformers 5 writes RoPE's settings into `rope_parameters`; most of mlx-lm's models read them by their older names.

Without this a model that transformers 5 saved is computed with its architecture's default base, without a word.
"""

from __future__ import annotations

from typing import Any

# Where the older names stand in transformers' own words for both kinds of layers.
_FULL, _SLIDING = "full_attention", "sliding_attention"
_OWN_NAMES = ("rope_theta", "partial_rotary_factor")


def older_names(config: dict[str, Any]) -> dict[str, Any]:
    """Keys to add to a config.json, so that a model that knows only the older names reads what is meant."""
    found = _of(config)
    text = config.get("text_config")
    if isinstance(text, dict) and (of_text := _of(text)):
        found["text_config"] = text | of_text
    return found


def _of(config: dict[str, Any]) -> dict[str, Any]:
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict):
        return {}
    found: dict[str, Any] = {}
    if isinstance(sliding := rope.get(_SLIDING), dict):
        found["rope_local_base_freq"] = sliding.get("rope_theta")
    main = rope.get(_FULL, rope)
    if not isinstance(main, dict):
        return {}
    found |= {name: main.get(name) for name in _OWN_NAMES}
    # GPT-NeoX had names of its own.
    found |= {"rotary_emb_base": main.get("rope_theta"), "rotary_pct": main.get("partial_rotary_factor")}
    if main.get("rope_type", "default") != "default":
        found["rope_scaling"] = {key: value for key, value in main.items() if key not in _OWN_NAMES}
    return {key: value for key, value in found.items() if value is not None and config.get(key) is None}

"""Handing a model over to other programs: an MLX folder, GGUF, PEFT, a model card, checksums; and whether it holds."""

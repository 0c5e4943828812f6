"""Precisions by name.

They are those of TT-NN's own LLM code (tenstorrent/tt-metal, `models/tt_transformers/tt/model_config.py`, class
`ModelOptimizations`), in the names of `PrecisionConfig`:

- `default`, its `_default_settings`: bfp8_b weights and KV cache, HiFi2, SDPA of a prefill HiFi4. There the MLP
  accumulates in BF16 to save L1, here in FP32.
- `performance`: gate and up projections in bfp4_b with LoFi, as for all its models but one (Qwen2.5-7B, which it calls
  degraded by it). LoFi is its `compute_kernel_config_lofi`: BF16 accumulation, blocks added in L1.
- `accuracy`: attention weights and KV cache in bf16, their products and attention in HiFi4; the MLP stays bfp8_b. It
  does so for models that its tests do not show to be insensitive (Llama 3 and Mistral 7B are).

What a preset costs in accuracy is measured by `ttbringup sweep`; docs/precision.md has a table.
"""

from __future__ import annotations

from collections.abc import Mapping

import ttnn

from .precision import DEFAULT_PRECISION, HIFI4, LOFI_BF16, PrecisionConfig

PRESETS: Mapping[str, PrecisionConfig] = {
    "accuracy": PrecisionConfig(
        qkv_weight=ttnn.bfloat16,
        attention_output_weight=ttnn.bfloat16,
        kv_cache=ttnn.bfloat16,
        qkv_math=HIFI4,
        sdpa_prefill_math=HIFI4,
        attention_output_math=HIFI4,
    ),
    "default": DEFAULT_PRECISION,
    "performance": PrecisionConfig(gate_up_weight=ttnn.bfloat4_b, gate_up_math=LOFI_BF16),
}
"""The names are those of `--tt-precision` (`pytest_ttbringup.option_table.PRESETS`)."""

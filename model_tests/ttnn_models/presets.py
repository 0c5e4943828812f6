"""Precisions by name.

Their formats are those of TT-NN's own LLM code (tenstorrent/tt-metal, `models/tt_transformers/tt/model_config.py`,
class `ModelOptimizations`), in the names of `PrecisionConfig`:

- `default`, its `_default_settings`: bfp8_b weights and KV cache. There matmuls and a decode step's attention compute
  in HiFi2, the MLP accumulates in BF16, and chips exchange sums in bf16; here all is HiFi4 in FP32, and
  `precisions/hifi2.toml` is TT-NN's fidelity.
- `performance`: gate and up projections in bfp4_b with LoFi, as for all its models but one (Qwen2.5-7B, which it calls
  degraded by it), other matmuls in HiFi2, partial sums in bf16. LoFi is its `compute_kernel_config_lofi`: BF16
  accumulation, blocks added in L1.
- `accuracy`: attention weights and KV cache in bf16; the MLP stays bfp8_b. It does so for models that its tests do not
  show to be insensitive (Llama 3 and Mistral 7B are).

What a preset costs in accuracy is measured by `ttbringup sweep`; docs/precision.md has a table.
"""

from __future__ import annotations

from collections.abc import Mapping

import ttnn

from .precision import DEFAULT_PRECISION, HIFI2, LOFI_BF16, PrecisionConfig

PRESETS: Mapping[str, PrecisionConfig] = {
    "accuracy": PrecisionConfig(
        qkv_weight=ttnn.bfloat16,
        attention_output_weight=ttnn.bfloat16,
        kv_cache=ttnn.bfloat16,
    ),
    "default": DEFAULT_PRECISION,
    "performance": PrecisionConfig(
        partial_sums=ttnn.bfloat16,
        gate_up_weight=ttnn.bfloat4_b,
        qkv_math=HIFI2,
        attention_output_math=HIFI2,
        gate_up_math=LOFI_BF16,
        down_math=HIFI2,
        lm_head_math=HIFI2,
    ),
}
"""The names are those of `--tt-precision` (`pytest_ttbringup.option_table.PRESETS`)."""

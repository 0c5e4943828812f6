"""Why operations have no values on the emulated device, for the table in docs/operations.md."""

from __future__ import annotations

from fnmatch import fnmatchcase

_KERNELS = "it runs kernels of the caller's own, which only a chip or the simulator can"
_PACKS = "it packs weights for `moe_compute` in an order that TT-NN does not document"
_SOCKET = "it talks to a socket of another process or chip"


def _only_kernels(model: str) -> str:
    return f"made for the kernels of one model ({model}), which alone say what it computes"


_REASONS = (
    ("ttnn.dram_prefetcher", "its golden function returns memory that nothing wrote"),
    ("ttnn.transformer.ring_mla", "its golden function knows one chip's part of the cache only"),
    ("ttnn.generic_op", _KERNELS),
    ("ttnn.experimental.prepare_generic_op", _KERNELS),
    ("ttnn.test_hang_device_operation", "it hangs the device on purpose"),
    ("ttnn.experimental.test_*", "a test of a kernel, without a result of its own"),
    ("*prefetcher*", "it feeds another operation's kernel through memory that no tensor shows"),
    ("ttnn.experimental.*send_*", _SOCKET),
    ("ttnn.experimental.*recv_*", _SOCKET),
    ("*socket_service_sync", _SOCKET),
    ("ttnn.experimental.get_*", "it answers with places of cores, and makes no values"),
    ("ttnn.experimental.can_use_*", "it answers yes or no, and makes no values"),
    ("ttnn.experimental.is_*", "it answers yes or no, and makes no values"),
    ("ttnn.experimental.*create_*buffer*", "it makes a buffer that holds nothing yet"),
    ("ttnn.experimental.*padding_config", "it answers with a configuration, and makes no values"),
    ("ttnn.experimental.prepare_w*_moe_compute", _PACKS),
    ("ttnn.experimental.prepare_w*_with_bias", _PACKS),
    ("ttnn.experimental.add_shared_expert_weights", _PACKS),
    ("ttnn.experimental.*twiddles*", "a step inside `ttnn.experimental.fft`, which has values"),
    ("ttnn.experimental.fft_*", "a step inside `ttnn.experimental.fft`, which has values"),
    ("ttnn.experimental.deepseek*", _only_kernels("DeepSeek")),
    ("ttnn.experimental.*indexer_score*", _only_kernels("DeepSeek")),
    ("ttnn.experimental.kda.*", _only_kernels("Kimi delta attention")),
    ("ttnn.experimental.*moe*", _only_kernels("GPT-OSS")),
    ("ttnn.experimental.topk_router_gpt", _only_kernels("GPT-OSS")),
    ("ttnn.experimental.dit_*", _only_kernels("diffusion transformers")),
    ("ttnn.experimental.*msda*", _only_kernels("deformable attention")),
    ("ttnn.experimental.multi_scale_deformable_attn", _only_kernels("deformable attention")),
    ("ttnn.experimental.*_segformer", "TT-NN's docstring and its test disagree about the shapes of its results"),
    ("ttnn.experimental.llama_*", _only_kernels("Llama 70B on a Galaxy")),
    ("ttnn.experimental.quasar.*", "for an architecture to come"),
    ("ttnn.experimental.*", "TT-NN gives it no golden function, and nobody has given it semantics here yet"),
)
"""Patterns of full names, the first that fits counts, and what keeps these operations from having values."""


def reason(name: str) -> str:
    """Why the operation of this full name has no values; empty if nothing is known."""
    return next((why for pattern, why in _REASONS if fnmatchcase(name, pattern)), "")

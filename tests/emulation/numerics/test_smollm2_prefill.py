"""All 30 layers of SmolLM2-135M over 128 tokens, against Tenstorrent's simulator running the kernels of the same ttnn
release: what the emulated device says about a model's accuracy is what the device would.

The simulator's results are large and no part of this project. TTBRINGUP_SIMULATOR_VECTORS names the folder that holds
`smollm2_prefill_<fidelity>_<accumulation>.safetensors`: token ids, every layer's output, final norm and logits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import ttnn
from safetensors.torch import load_file
from ttnn_models.config import ModelConfig
from ttnn_models.rope import cos_sin_tables, interleave_rows, rotation_tile

from pytest_ttbringup.comparison.metrics import pcc
from pytest_ttbringup.options import settings_of
from pytest_ttbringup.reference.loading import load_model
from pytest_ttbringup.reference.model import BringupModel

from .conftest import Compute

pytestmark = pytest.mark.slow

VARIABLE = "TTBRINGUP_SIMULATOR_VECTORS"


@pytest.fixture(scope="module")
def smollm2(pytestconfig: pytest.Config) -> BringupModel:
    return load_model("smollm2-135m", cache_dir=settings_of(pytestconfig).cache_dir)


@pytest.fixture
def simulator() -> Callable[[str], dict[str, torch.Tensor]]:
    def simulator(case: str) -> dict[str, torch.Tensor]:
        folder = os.environ.get(VARIABLE, "")
        file = Path(folder) / f"smollm2_prefill_{case}.safetensors"
        if not folder or not file.is_file():
            pytest.skip(f"the simulator's results are not here: {VARIABLE} names no folder with {file.name}")
        return load_file(file)

    return simulator


class Prefill:
    """The model in TT-NN's operations, in the formats and maths of the simulator's run."""

    def __init__(self, mesh_device: ttnn.MeshDevice, model: BringupModel, fidelity: str, fp32: bool) -> None:
        self.mesh_device = mesh_device
        self.weights = model.reference.state_dict()
        self.config = ModelConfig.from_hf(model.config, max_seq_len=128)
        self.linear_math = self._math(fidelity, fp32)
        self.precise_math = self._math("HiFi4", True)
        cos, sin = cos_sin_tables(self.config)
        self.cos, self.sin = self._place(cos[None, None]), self._place(sin[None, None])
        self.turn = self._place(rotation_tile()[None, None])

    def run(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """`hidden.0` (the embedding) to `hidden.30`, `norm` and `logits`, as the simulator's files name them."""
        x = self._place(self.weights["model.embed_tokens.weight"][ids.long()][None, None])
        results = {"hidden.0": ttnn.to_torch(x)}
        for layer in range(self.config.num_layers):
            x = self._layer(x, f"model.layers.{layer}")
            results[f"hidden.{layer + 1}"] = ttnn.to_torch(x)
        x = self._norm(x, "model.norm")
        results["norm"] = ttnn.to_torch(x)
        logits = self._linear(x, self.weights["model.embed_tokens.weight"], ttnn.bfloat8_b)
        results["logits"] = ttnn.to_torch(logits)[0, 0]
        return results

    def _layer(self, x: ttnn.Tensor, prefix: str) -> ttnn.Tensor:
        weight = {name: self.weights[f"{prefix}.{name}.weight"] for name in WEIGHTS}
        heads, kv_heads, size = self.config.num_heads, self.config.num_kv_heads, self.config.head_dim
        query, key = (interleave_rows(weight[f"self_attn.{name}_proj"], size) for name in "qk")
        normed = self._norm(x, f"{prefix}.input_layernorm")
        qkv = self._linear(normed, torch.cat([query, key, weight["self_attn.v_proj"]]))
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            qkv, num_heads=heads, num_kv_heads=kv_heads, transpose_k_heads=False
        )
        q, k = (
            ttnn.experimental.rotary_embedding_llama(
                it, self.cos, self.sin, self.turn, compute_kernel_config=self.precise_math
            )
            for it in (q, k)
        )
        k, v = ttnn.typecast(k, ttnn.bfloat8_b), ttnn.typecast(v, ttnn.bfloat8_b)
        attended = ttnn.transformer.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=size**-0.5, compute_kernel_config=self.precise_math
        )
        x = ttnn.add(x, self._linear(ttnn.experimental.nlp_concat_heads(attended), weight["self_attn.o_proj"]))
        normed = self._norm(x, f"{prefix}.post_attention_layernorm")
        gate, up = (self._linear(normed, weight[f"mlp.{name}_proj"]) for name in ("gate", "up"))
        product = ttnn.mul(gate, up, input_tensor_a_activations=[ttnn.UnaryOpType.SILU], dtype=ttnn.bfloat8_b)
        return ttnn.add(x, self._linear(product, weight["mlp.down_proj"]))

    def _linear(self, x: ttnn.Tensor, weight: torch.Tensor, dtype: ttnn.DataType = ttnn.bfloat16) -> ttnn.Tensor:
        placed = self._place(weight.T[None, None], ttnn.bfloat8_b)
        return ttnn.linear(x, placed, dtype=dtype, compute_kernel_config=self.linear_math)

    def _norm(self, x: ttnn.Tensor, name: str) -> ttnn.Tensor:
        gain = self._place(self.weights[f"{name}.weight"][None])
        return ttnn.rms_norm(x, weight=gain, epsilon=self.config.rms_norm_eps, compute_kernel_config=self.precise_math)

    def _place(self, values: torch.Tensor, dtype: ttnn.DataType = ttnn.bfloat16) -> ttnn.Tensor:
        return ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=self.mesh_device)

    def _math(self, fidelity: str, fp32: bool) -> ttnn.DeviceComputeKernelConfig:
        return ttnn.init_device_compute_kernel_config(
            self.mesh_device.arch(),
            math_fidelity=getattr(ttnn.MathFidelity, fidelity),
            math_approx_mode=False,
            fp32_dest_acc_en=fp32,
            packer_l1_acc=True,
        )


WEIGHTS = [f"self_attn.{name}_proj" for name in "qkvo"] + [f"mlp.{name}_proj" for name in ("gate", "up", "down")]


def divergence(logits: torch.Tensor, reference: torch.Tensor) -> float:
    """KL divergence of the reference from the logits, mean over tokens, in nats."""
    expected, found = (F.log_softmax(it.double(), dim=-1) for it in (reference, logits))
    return F.kl_div(found, expected, log_target=True, reduction="batchmean").item()


def agreement(logits: torch.Tensor, reference: torch.Tensor) -> float:
    """The share of tokens for which both find the same greatest logit, in percent."""
    return 100 * (logits.argmax(-1) == reference.argmax(-1)).double().mean().item()


@pytest.mark.parametrize(
    ("case", "fidelity", "fp32"),
    [("hifi2_acc1", "HiFi2", True), ("hifi2_acc0", "HiFi2", False), ("lofi_acc0", "LoFi", False)],
)
def test_a_model_is_as_accurate_as_on_the_simulator(
    compute: Compute, mesh_device: ttnn.MeshDevice, smollm2: BringupModel, simulator, case, fidelity, fp32
) -> None:
    expected = simulator(case)
    ids = expected["ids"]
    with torch.no_grad():
        reference = smollm2.reference(ids[None].long(), output_hidden_states=True)
    hidden = {f"hidden.{number}": values[0] for number, values in enumerate(reference.hidden_states[:-1])}
    hidden |= {"norm": reference.hidden_states[-1][0]}
    logits = reference.logits[0]

    def accuracy(results: dict[str, torch.Tensor]) -> dict[str, float]:
        return {name: pcc(results[name].float().reshape(values.shape), values) for name, values in hidden.items()}

    def misfits(results: dict[str, torch.Tensor]) -> list[str]:
        ours, theirs = accuracy(results), accuracy(expected)
        found = [
            f"{name}: {ours[name]:.5f}, not {theirs[name]:.5f}"
            for name in ours
            if abs(ours[name] - theirs[name]) > 3e-4
        ]
        kl, wanted_kl = divergence(results["logits"], logits), divergence(expected["logits"], logits)
        if abs(kl / wanted_kl - 1) > 0.15:
            found.append(f"KL {kl:.5f}, not {wanted_kl:.5f}")
        top, wanted_top = agreement(results["logits"], logits), agreement(expected["logits"], logits)
        if abs(top - wanted_top) > 2:
            found.append(f"top-1 {top:.1f} %, not {wanted_top:.1f} %")
        return found

    model = Prefill(mesh_device, smollm2, fidelity, fp32)
    compute("device")
    assert not misfits(model.run(ids))
    compute("exact")  # negative control: without the device's arithmetic the figures are others
    assert misfits(model.run(ids))

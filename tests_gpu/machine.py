"""
The GPUs of this machine, and what a test runs on them.

The process of pytest has one GPU, as a single process of a training does; launched processes have all of them.
"""

import os
from collections.abc import Callable
from typing import Any

import torch


Record = Callable[[str, Any], None]  # pytest's `record_property`
VISIBLE = os.environ.get("CUDA_VISIBLE_DEVICES")
GPUS = torch.cuda.device_count()  # starts no driver, so that what follows is still read
RUNS = GPUS > 0 or bool(os.environ.get("GPU_TESTS_ON_CPU"))
if GPUS:
    os.environ["CUDA_VISIBLE_DEVICES"] = (VISIBLE or "0").split(",")[0]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic products; read with the first one

IN_FLOAT32 = dict(use_cpu=not GPUS)
IN_BFLOAT16 = dict(use_cpu=not GPUS, bf16=GPUS > 0)  # the small form stays in float32
# For `tiny_model` and `tiny_llama`: heads of a size that kernels have, weights that ZeRO-3 cuts up
LARGE = dict(vocab_size=32768, hidden_size=512, intermediate_size=2048, num_hidden_layers=8, num_attention_heads=8)
LARGE |= dict(num_key_value_heads=2, initializer_range=0.02, max_position_embeddings=2048)
SIZE = LARGE if GPUS else {}

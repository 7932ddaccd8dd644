"""
Every private or undocumented name of TRL and Transformers that this package imports.

They promise stability for documented symbols only, so these are imported only here, after `contract` has checked them.
"""

from .contract import check_contract


check_contract()

from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: E402
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func  # noqa: E402
from transformers.trainer_utils import rotate_checkpoints  # noqa: E402
from transformers.utils.generic import is_flash_attention_requested  # noqa: E402
from trl.trainer.utils import (  # noqa: E402
    add_fused_lm_head,
    get_callable_name,
    get_config_model_id,
    is_async_callable,
    nanstd,
    pad,
    split_pixel_values_by_grid,
    unsplit_pixel_values_by_grid,
    use_adapter,
)


__all__ = [
    "add_fused_lm_head",
    "get_callable_name",
    "get_config_model_id",
    "is_async_callable",
    "is_flash_attention_requested",
    "load_balancing_loss_func",
    "nanstd",
    "pad",
    "rotate_checkpoints",
    "sdpa_attention_forward",
    "split_pixel_values_by_grid",
    "unsplit_pixel_values_by_grid",
    "use_adapter",
]

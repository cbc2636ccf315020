"""Mathematics on tensors: no parameters, no modules. Each file has the definition and the fast form."""

from caselli.ops.attention import attention, block_sparse_attention
from caselli.ops.channel_delta_rule import channel_delta_rule
from caselli.ops.decayed_scores import decayed_scores
from caselli.ops.delta_rule import delta_product, delta_rule
from caselli.ops.feature_maps import FEATURE_MAPS
from caselli.ops.forgetting_attention import forgetting_attention
from caselli.ops.gated_linear_attention import gated_linear_attention
from caselli.ops.gated_mixed_chunk_attention import gated_mixed_chunk_attention
from caselli.ops.generalised_delta_rule import generalised_delta_rule
from caselli.ops.hippo import HIPPO
from caselli.ops.linear_attention import linear_attention, normalised_linear_attention
from caselli.ops.long_convolution import long_convolution
from caselli.ops.lsh_attention import lsh_attention
from caselli.ops.mixed_chunk_attention import mixed_chunk_attention
from caselli.ops.nearest_code import nearest_code
from caselli.ops.offset_rotary import offset_rotary
from caselli.ops.pointwise_attention import pointwise_attention
from caselli.ops.rotary import rotary
from caselli.ops.scan import scan
from caselli.ops.selective_scan import selective_scan
from caselli.ops.short_convolution import short_convolution, token_shift
from caselli.ops.sparse_attention import fixed_attention, local_attention, strided_attention
from caselli.ops.trapezoidal_attention import trapezoidal_attention
from caselli.ops.wkv import wkv

__all__ = [
    "FEATURE_MAPS",
    "HIPPO",
    "attention",
    "block_sparse_attention",
    "channel_delta_rule",
    "decayed_scores",
    "delta_product",
    "delta_rule",
    "fixed_attention",
    "forgetting_attention",
    "gated_linear_attention",
    "gated_mixed_chunk_attention",
    "generalised_delta_rule",
    "linear_attention",
    "local_attention",
    "long_convolution",
    "lsh_attention",
    "mixed_chunk_attention",
    "nearest_code",
    "normalised_linear_attention",
    "offset_rotary",
    "pointwise_attention",
    "rotary",
    "scan",
    "selective_scan",
    "short_convolution",
    "strided_attention",
    "token_shift",
    "trapezoidal_attention",
    "wkv",
]

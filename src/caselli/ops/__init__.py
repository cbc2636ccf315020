"""Mathematics on tensors: no parameters, no modules. Each file has the definition and the fast form."""

from caselli.ops.attention import attention, block_sparse_attention, packed_mask
from caselli.ops.block_choice import mixture_of_block_attention, native_sparse_attention
from caselli.ops.channel_delta_rule import channel_delta_rule
from caselli.ops.chunks import Segments, before, exact, fold, forget, no_autocast
from caselli.ops.cross_entropy import cross_entropy
from caselli.ops.decayed_scores import decayed_scores
from caselli.ops.delta_rule import delta_product, delta_rule
from caselli.ops.discretised_logistic import HALF_LEVEL, counted_bits, residual_bits, residual_counts
from caselli.ops.dplr_kernel import DplrSystem, dplr_kernel
from caselli.ops.dropout import dropout
from caselli.ops.feature_maps import FEATURE_MAPS, orthogonal_features, positive_exponents, squared_relu
from caselli.ops.forgetting_attention import forgetting_attention
from caselli.ops.gated_linear_attention import gated_linear_attention
from caselli.ops.gated_mixed_chunk_attention import gated_mixed_chunk_attention
from caselli.ops.generalised_delta_rule import generalised_delta_rule
from caselli.ops.hippo import HIPPO, legs_diagonal_plus_low_rank
from caselli.ops.hippo_measures import correction, diagonal_plus_low_rank
from caselli.ops.inject_gradient import inject_gradient
from caselli.ops.linear_attention import linear_attention
from caselli.ops.log_linear_attention import log_linear_attention
from caselli.ops.long_convolution import long_convolution
from caselli.ops.lsh_attention import lsh_attention, lsh_buckets, lsh_mask
from caselli.ops.matrix_product import linear, linear_parts
from caselli.ops.mesa import mesa
from caselli.ops.mixed_chunk_attention import mixed_chunk_attention
from caselli.ops.nearest_code import full_precision, largest_product, nearest_code
from caselli.ops.offset_rotary import offset_rotary
from caselli.ops.pairs import as_complex, as_real, pair_product
from caselli.ops.path_attention import path_scores
from caselli.ops.pointwise_attention import ACTIVATIONS, pointwise_attention
from caselli.ops.rotary import rotary, rotary_angles
from caselli.ops.scan import scan, scan_pairs
from caselli.ops.selective_scan import selective_scan
from caselli.ops.short_convolution import short_convolution, token_shift
from caselli.ops.sparse_attention import fixed_attention, local_attention, strided_attention
from caselli.ops.trapezoidal_attention import trapezoidal_attention
from caselli.ops.wkv import EMPTY_EXPONENT, wkv

__all__ = [
    "ACTIVATIONS",
    "EMPTY_EXPONENT",
    "FEATURE_MAPS",
    "HALF_LEVEL",
    "HIPPO",
    "DplrSystem",
    "Segments",
    "as_complex",
    "as_real",
    "attention",
    "before",
    "block_sparse_attention",
    "channel_delta_rule",
    "correction",
    "counted_bits",
    "cross_entropy",
    "decayed_scores",
    "delta_product",
    "delta_rule",
    "diagonal_plus_low_rank",
    "dplr_kernel",
    "dropout",
    "exact",
    "fixed_attention",
    "fold",
    "forget",
    "forgetting_attention",
    "full_precision",
    "gated_linear_attention",
    "gated_mixed_chunk_attention",
    "generalised_delta_rule",
    "inject_gradient",
    "largest_product",
    "legs_diagonal_plus_low_rank",
    "linear",
    "linear_attention",
    "linear_parts",
    "local_attention",
    "log_linear_attention",
    "long_convolution",
    "lsh_attention",
    "lsh_buckets",
    "lsh_mask",
    "mesa",
    "mixed_chunk_attention",
    "mixture_of_block_attention",
    "native_sparse_attention",
    "nearest_code",
    "no_autocast",
    "offset_rotary",
    "orthogonal_features",
    "packed_mask",
    "pair_product",
    "path_scores",
    "pointwise_attention",
    "positive_exponents",
    "residual_bits",
    "residual_counts",
    "rotary",
    "rotary_angles",
    "scan",
    "scan_pairs",
    "selective_scan",
    "short_convolution",
    "squared_relu",
    "strided_attention",
    "token_shift",
    "trapezoidal_attention",
    "wkv",
]

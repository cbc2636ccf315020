"""Operations of torch that multiply and sum nothing: a cost of 0 is said of these alone."""

from __future__ import annotations

from typing import Any

import torch

_NAMES = """
_adaptive_avg_pool2d _adaptive_avg_pool3d _aminmax _assert_tensor_metadata _chunk_cat
_functional_assert_async _functional_assert_scalar _fused_dropout _is_all_true _is_any_true _log_softmax
_logcumsumexp _masked_softmax _native_batch_norm_legit _native_batch_norm_legit_functional
_native_batch_norm_legit_no_training _pack_padded_sequence _pad_packed_sequence _pin_memory _prelu_kernel
_safe_softmax _softmax _stack _standard_gamma _to_copy _unique2 _unsafe_index _unsafe_index_put
_unsafe_masked_index _unsafe_masked_index_put_accumulate _unsafe_view _upsample_nearest_exact1d
_upsample_nearest_exact2d _upsample_nearest_exact3d _weight_norm_interface abs
adaptive_max_pool2d adaptive_max_pool3d all amax
amin aminmax any arange argmax argmin as_strided as_strided_scatter avg_pool2d avg_pool3d batch_norm_elemt
batch_norm_stats batch_norm_update_stats bernoulli binary_cross_entropy binary_cross_entropy_with_logits
bincount binomial block_diag bucketize cat cauchy channel_shuffle clone col2im complex constant_pad_nd
copy copysign count_nonzero cummax cummin cumprod cumsum detach diag_embed diagonal_scatter dist embedding
embedding_renorm empty empty_like empty_permuted empty_strided eq exponential eye fill flip floor_divide
fractional_max_pool2d fractional_max_pool3d full full_like gather ge gelu geometric glu gt hardswish
heaviside histc histogram huber_loss im2col index index_add index_copy index_fill index_put index_reduce
index_select isin kthvalue le lift lift_fresh lift_fresh_copy linalg__powsum linalg_cross
linalg_vector_norm linspace log_normal log_sigmoid_forward log_softmax logcumsumexp logspace logsumexp lt
masked_fill masked_scatter masked_select max_pool2d_with_indices max_pool3d_with_indices max_unpool2d
max_unpool3d mean median mish mode mse_loss multinomial nanmedian nansum native_batch_norm native_dropout
native_group_norm native_layer_norm native_norm ne new_empty new_empty_strided new_full new_ones new_zeros
nll_loss2d_forward nll_loss_forward nonzero nonzero_static norm normal ones ones_like pixel_shuffle
pixel_unshuffle poisson polar prod put rand rand_like randint randint_like randn randn_like random
randperm reflection_pad1d reflection_pad2d reflection_pad3d renorm repeat repeat_interleave
replication_pad1d replication_pad2d replication_pad3d resize resize_as roll rot90 rrelu_with_noise
rrelu_with_noise_functional scalar_tensor scatter scatter_add scatter_reduce searchsorted segment_reduce
select_scatter set set_data slice slice_scatter smooth_l1_loss soft_margin_loss softmax sort split squeeze
stack std std_mean sum swapaxes swapdims t take threshold to_padded_tensor topk trace transpose tril
tril_indices triu triu_indices uniform unique_consecutive unique_dim unique_dim_consecutive unsafe_split
unsafe_split_with_sizes unsqueeze upsample_nearest1d upsample_nearest2d upsample_nearest3d var var_mean
view_as_complex_copy zero zeros zeros_like
"""
NO_PRODUCTS = frozenset(_NAMES.split())
"""Names of operations that choose, move, compare, pool, normalise, sum or make numbers; those of one element
at a time have a tag of torch's own."""


def multiplies_nothing(function: Any) -> bool:
    """True for an operation of the dispatcher that is known to have no products that are summed.

    By its schema where that says so: a view, an operation of one element at a time, one without tensors; else
    by `NO_PRODUCTS`. What nobody knows, an operation of another library among it, is not.

    Example:
        >>> multiplies_nothing(torch.ops.aten.relu.default), multiplies_nothing(torch.ops.aten.mm.default)
        (True, False)
    """
    packet, schema = function.overloadpacket, function._schema
    name = schema.name.removeprefix("aten::").removesuffix("_")
    if function.is_view or name in NO_PRODUCTS or name.endswith("_copy") or "backward" in name:
        return True
    if not any("Tensor" in str(argument.type) for argument in schema.arguments):
        return True
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads())

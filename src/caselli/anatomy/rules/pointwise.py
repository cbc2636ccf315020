"""Operations that keep every element in its place, normalisation among them.

A normalisation's statistics span the picture (group and instance normalisation always, batch normalisation
while training). The field's convention leaves them out of the receptive field, and so do these rules;
`STATISTICS` lists what each spans, for those who count them.
"""

from __future__ import annotations

from caselli.anatomy.relation import WHOLE, Along, Separable, same
from caselli.anatomy.rules.registry import Dependency, elementwise, register_rule
from caselli.anatomy.tape import Operation

register_rule(
    *("clone", "detach", "alias", "_to_copy", "lift_fresh", "lift_fresh_copy", "contiguous", "dropout"),
    *("feature_dropout", "alpha_dropout", "native_dropout", "where", "masked_fill", "prelu", "_prelu_kernel"),
    *("rrelu_with_noise", "celu", "selu", "hardtanh", "relu6", "glu_jvp", "_fake_quantize_learnable", "to"),
    *("fake_quantize_per_tensor_affine_cachemask", "nan_to_num", "lerp", "isin", "view_as_real"),
)(elementwise)


@register_rule("copy")
def copy(operation: Operation, slot: int) -> list[Dependency]:
    """Only what was written counts."""
    source = operation.args[1]
    return [(source, same(source.shape, operation.outputs[slot].shape))]


@register_rule(
    *(
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "cudnn_batch_norm",
    ),
    *("_batch_norm_with_update", "_batch_norm_no_update", "native_group_norm", "batch_norm_with_update"),
    *("native_layer_norm", "_fused_rms_norm", "rms_norm"),
)
def normalisation(operation: Operation, slot: int) -> list[Dependency]:
    """The first output by place; the statistics, if anything uses them, of everything."""
    x, out = operation.inputs()[0], operation.outputs[slot].shape
    if slot == 0:
        return [(x, same(x.shape, out))]
    return [(x, Separable((WHOLE,) * len(x.shape), x.shape, out))]


def statistics(operation: Operation) -> Separable | None:
    """The part of its input that a normalisation's statistics span; `None` if there is none."""
    x = operation.inputs()[0]
    rank = len(x.shape)
    if operation.name == "native_group_norm":
        groups = operation.arguments()["group"]
        size = x.shape[1] // groups

        def group(channels, size=size):
            return channels[:, None] // size * size + range(size)

        axes = [Along(0), Along(1, group, line=None), *[WHOLE] * (rank - 2)]
    elif operation.name in ("native_layer_norm", "_fused_rms_norm", "rms_norm"):
        spanned = len(operation.arguments()["normalized_shape"])
        axes = [Along(axis) if axis < rank - spanned else WHOLE for axis in range(rank)]
    elif operation.name.endswith("no_training") or operation.arguments().get("training") is False:
        return None
    else:
        axes = [Along(1) if axis == 1 else WHOLE for axis in range(rank)]
    return Separable(tuple(axes), x.shape, x.shape)


NORMALISATIONS = {
    *(
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "cudnn_batch_norm",
    ),
    *("_batch_norm_with_update", "native_group_norm", "native_layer_norm", "_fused_rms_norm", "rms_norm"),
}

"""Pictures made larger and smaller: one interface, `UPSAMPLERS` and `DOWNSAMPLERS` in the room's door.

`UPSAMPLERS[name](width, out_width=None, scale=2)(x, size=None)` and
`DOWNSAMPLERS[name](width, out_width=None, scale=2)(x)` map `B width H W` to `B out_width h w`, with exact
sizes `enlarged(H, scale)` and `reduced(H, scale)`. Methods that only move pixels are followed by a 3 × 3
convolution, the field's practice; their functions (`nearest`, `bilinear`, `blur_pool` …) do the moving alone.
"""

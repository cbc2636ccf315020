"""The numbers of rounds that the bench of few steps compares."""

from __future__ import annotations

import math
from types import SimpleNamespace

from bench import few_steps

from caselli.prior import Masked, ParallelOrder


def test_rounds_fall_from_one_code_at_a_time():
    for kind, noise in ((ParallelOrder, 4.5), (Masked, math.inf)):
        model = SimpleNamespace(codes_per_picture=16, prior=kind)
        found = list(few_steps.numbers_of_rounds(model))
        assert [options.steps for options in found] == [16, 12, 8, 4]
        assert found[0].choice_temperature == noise and found[1].choice_temperature == 4.5

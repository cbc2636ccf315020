"""The tasks that tell mixers apart: what is asked is what a slow reader would answer; the comparison."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from PIL import Image

from caselli.cli import main
from caselli.compare import COMPARISONS, TASKS, Budget, Size, build_model, compare, learn, load, text
from caselli.compare.learning import Learner, accuracy
from caselli.compare.sequence_model import cost, count_parameters
from caselli.compare.tasks import NOTHING, ByteText, SelectiveCopying
from caselli.compare.tasks.list_operations import WORDS
from caselli.errors import UserError
from caselli.mixer import MIXERS

SMALL = Size(width=16, depth=1, state=8, parameters=16)
BUDGET = Budget(steps=10, batch=4)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def made(name, count=20, **options):
    task = TASKS[name](**options)
    return task, task.examples(count, random())


@pytest.mark.parametrize("name", TASKS)
def test_examples(name):
    """Shapes, ranges, determinism; every length that is tested can be made; training lengths are in range."""
    task = TASKS[name]()
    for length in task.lengths:
        found = task.examples(3, random(), length=length, split="held_out")
        assert found.tokens.shape == found.answers.shape == (3, length)
        assert found.tokens.min() >= 0 and found.tokens.max() < task.tokens
        asked = found.answers[found.answers != NOTHING]
        assert len(asked) >= 3 and asked.min() >= 0 and asked.max() < task.answers
    again, other = task.examples(3, random(), length=length, split="held_out"), task.examples(3, random(1))
    assert torch.equal(found.tokens, again.tokens) and torch.equal(found.answers, again.answers)
    assert not torch.equal(task.examples(3, random()).tokens, other.tokens)
    assert task.length in task.lengths
    lengths = {task.training_length(random(seed)) for seed in range(40)}
    assert max(lengths) <= task.length and min(lengths) >= task.shortest
    for length in lengths:
        task.examples(1, random(), length=length)


@pytest.mark.parametrize("name", TASKS)
def test_what_cannot_be_made(name):
    task = TASKS[name]()
    for wrong in ({"length": task.least - 1}, {"split": "test"}):
        with pytest.raises(UserError, match="expected"):
            task.examples(1, random(), **wrong)
    with pytest.raises(UserError, match="at least 1"):
        task.examples(0, random())


def test_selective_copying_asks_for_the_symbols_in_order():
    task, found = made("selective_copying", length=20)
    for tokens, answers in zip(found.tokens.tolist(), found.answers.tolist(), strict=True):
        symbols = [token - 2 for token in tokens if token >= 2]
        assert tokens[-task.content :] == [1] * task.content
        assert answers == [NOTHING] * (20 - task.content) + symbols


def test_induction_heads_ask_for_what_followed_the_mark():
    _, found = made("induction_heads")
    for tokens, answers in zip(found.tokens.tolist(), found.answers.tolist(), strict=True):
        assert tokens.count(0) == 2 and tokens[-1] == 0
        assert answers[-1] == tokens[tokens.index(0) + 1] - 1 and set(answers[:-1]) == {NOTHING}


@pytest.mark.parametrize("fresh", [False, True])
def test_associative_recall_asks_for_the_last_value_of_the_key(fresh):
    task, found = made("associative_recall", keys=10, values=5, fresh=fresh, length=32)
    again = 0
    for tokens, answers in zip(found.tokens.tolist(), found.answers.tolist(), strict=True):
        known = {}
        for key, value in zip(tokens[:16:2], tokens[1:16:2], strict=True):
            again += key in known
            known[key] = value - task.keys
        assert answers == [NOTHING] * 16 + [known[key] for key in tokens[16:]]
    assert (again == 0) == fresh
    if fresh:
        with pytest.raises(UserError, match="four times"):
            task.examples(1, random(), length=44)


def read_list(words):
    """The value of an expression, by recursion over its words; takes them off the front."""
    word = words.pop(0)
    if not word.startswith("["):
        return int(word)
    values = []
    while words[0] != "]":
        values.append(read_list(words))
    words.pop(0)
    middle = sorted(values)[len(values) // 2]
    return {"[MAX": max(values), "[MIN": min(values), "[MED": middle, "[SM": sum(values) % 10}[word]


def nesting(words):
    depth = deepest = 0
    for word in words:
        depth += word.startswith("[") - (word == "]")
        deepest = max(deepest, depth)
    return deepest


def test_list_operations():
    task, found = made("list_operations", count=200)
    deepest = 0
    for tokens, answers in zip(found.tokens.tolist(), found.answers.tolist(), strict=True):
        words = [WORDS[token] for token in tokens if WORDS[token]]
        deepest = max(deepest, nesting(words))
        assert words.pop() == "=" and read_list(words) == answers[-1] and not words
    assert deepest == task.depth
    assert {word for word in WORDS if word} <= {WORDS[token] for token in found.tokens.unique().tolist()}


def test_automata_say_where_they_stand():
    bits, sums, words = (made(name)[1] for name in ("parity", "modular_arithmetic", "words_in_s3"))
    assert torch.equal(bits.answers, bits.tokens.cumsum(1) % 2)
    assert torch.equal(sums.answers, sums.tokens.cumsum(1) % 5)
    arithmetic = made("modular_arithmetic", operations="+-*", modulus=7)[1]
    for tokens, answers in zip(arithmetic.tokens.tolist(), arithmetic.answers.tolist(), strict=True):
        value = 0
        for token, answer in zip(tokens, answers, strict=True):
            number = token % 7
            value = (value + number, value - number, value * number)[token // 7] % 7
            assert value == answer
    elements = list(itertools.permutations("abc"))
    for tokens, answers in zip(words.tokens.tolist(), words.answers.tolist(), strict=True):
        order = list("abc")
        for token, answer in zip(tokens, answers, strict=True):
            order = [elements[token]["abc".index(thing)] for thing in order]
            assert "".join(order) == "".join(elements[answer])
    with pytest.raises(UserError, match="some of"):
        TASKS["modular_arithmetic"](operations="/")


def test_bracket_stack():
    task, found = made("bracket_stack", depth=3)
    deepest = 0
    for tokens, answers in zip(found.tokens.tolist(), found.answers.tolist(), strict=True):
        stack = []
        for token, answer in zip(tokens, answers, strict=True):
            if token:
                stack.append(token)
            else:
                stack.pop()
            deepest = max(deepest, len(stack))
            assert answer == (stack[-1] if stack else 0)
    assert deepest == task.depth


def test_needles():
    task, found = made("needles", length=40)
    for tokens, answers in zip(found.tokens.tolist(), found.answers.tolist(), strict=True):
        marks = [t for t, token in enumerate(tokens) if token == 0]
        assert len(marks) == task.needles + 1 and marks[-1] == 38
        known = {tokens[t + 1]: tokens[t + 2] - 1 - task.keys for t in marks[:-1]}
        assert len(known) == task.needles and all(0 <= value < task.values for value in known.values())
        assert answers == [NOTHING] * 39 + [known[tokens[-1]]]


def test_backward_copying():
    _, found = made("backward_copying", length=10)
    for tokens, answers in zip(found.tokens.tolist(), found.answers.tolist(), strict=True):
        assert tokens[5:] == [0] * 5 and answers[:5] == [NOTHING] * 5
        assert [answer + 1 for answer in answers[5:]] == tokens[:5][::-1]


def test_permuted_digits_are_the_digits():
    """One permutation for all, and the picture can be put together again."""
    from caselli.data import Glyphs, draw_glyphs, generator

    task, found = made("permuted_digits")
    order = torch.randperm(64, generator=generator("permuted digits", 8))
    pictures, labels = draw_glyphs(300 * len(Glyphs.classes), 8, 0, "train")
    levels = pictures.flatten(1).long() * 16 // 256
    for tokens, answer in zip(found.tokens, found.answers[:, -1].tolist(), strict=True):
        same = (levels == tokens[order.argsort()]).all(1)
        assert str(answer) in {Glyphs.classes[label] for label in labels[same]}
    held = task.examples(5, random(), split="held_out").tokens
    assert not any((levels == tokens[order.argsort()]).all(1).any() for tokens in held)


def test_byte_text(tmp_path):
    file = tmp_path / "text"
    file.write_bytes(bytes(range(200)) * 5)
    task = ByteText(file, length=20)
    train, held = task.examples(50, random()), task.examples(50, random(), split="held_out")
    assert torch.equal(train.tokens[:, 1:], train.answers[:, :-1])
    assert ((train.answers - train.tokens) % 200 == 1).all() and held.tokens.min() >= 100
    for path, words in ((tmp_path / "none", "cannot be read"), (tmp_path, "cannot be read")):
        with pytest.raises(UserError, match=words):
            ByteText(path)
    file.write_bytes(b"short")
    with pytest.raises(UserError, match="bytes"):
        ByteText(file)


# the models -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MIXERS)
def test_equal_parameters_and_state(name):
    task = TASKS["associative_recall"]()
    size = Size()
    model = build_model(name, task, size)
    assert count_parameters(model) == pytest.approx(
        count_parameters(build_model("attention", task, size)), rel=0.01
    )
    state = model.blocks[0].mixer(torch.zeros(1, 64, size.width))[1]
    numbers = sum(tensor.numel() for tensor in state.tensors()) / size.width
    grows = (
        "attention",
        "forgetting",
        "path",
        "moba",
        "nsa",
        "strided",
        "fixed",
        "reformer",
        "gau",
        "flash_quad",
    )
    if name in grows:
        assert numbers >= 3 * size.state
    elif name in ("rwkv4", "lru", "linformer"):
        assert numbers <= size.state / 2
    else:
        assert size.state - 2 <= numbers <= size.state * 1.6


def test_the_model_steps():
    """One token after another with the state, as all at once."""
    task = TASKS["induction_heads"](length=8)
    model = build_model("mamba2+local", task, dataclasses.replace(SMALL, depth=2)).double()
    tokens = task.examples(2, random()).tokens
    with torch.no_grad():
        whole, state, steps = model(tokens)[0], None, []
        for token in tokens.split(1, 1):
            logits, state = model(token, state)
            steps.append(logits)
    assert (torch.cat(steps, 1) - whole).abs().max() < 1e-10


def test_models_that_cannot_be():
    task = TASKS["byte_text"]()
    with pytest.raises(UserError, match="did you mean mamba"):
        build_model("mambo", task, SMALL)
    with pytest.raises(UserError, match="causal"):
        build_model("linformer", task, SMALL)
    with pytest.raises(UserError, match="of its own"):
        build_model("attention", task, dataclasses.replace(SMALL, parameters=4))
    with pytest.raises(UserError, match="multiple of 8"):
        Size(width=16, state=12)
    with pytest.raises(UserError, match="positive"):
        Size(width=0)


# learning and measuring -------------------------------------------------------------------------------------


def test_learning_is_deterministic_and_picks_the_better_rate():
    task = TASKS["induction_heads"](symbols=2, length=8)
    budget = Budget(steps=40, batch=8, rates=(1e-6, 0.02))
    found = learn("attention", task, SMALL, budget)
    again = learn("attention", task, SMALL, budget)
    assert found.rate == 0.02 and found.loss == again.loss
    assert accuracy(found, 8, 32) == accuracy(again, 8, 32)


def test_a_solved_task_is_left():
    task = SelectiveCopying(content=1, symbols=1, length=4)
    assert learn("linear", task, SMALL, Budget(steps=100, batch=4, rates=(0.02,))).fit.step == 20


def test_a_budget_in_minutes():
    learner = learn(
        "linear", SelectiveCopying(length=16), SMALL, Budget(minutes=0.01, batch=2, rates=(0.01,))
    )
    assert 0.6 <= learner.fit.seconds < 5 or learner.solved()


def test_whole_lengths_come_last(monkeypatch):
    task, seen = TASKS["parity"](length=8), []
    draw = task.draw
    monkeypatch.setattr(
        task, "draw", lambda count, length, *rest: seen.append(length) or draw(count, length, *rest)
    )
    budget = Budget(steps=20, batch=2, optimiser="adamw", whole=0.5)
    Learner(task, build_model("linear", task, SMALL), 0.01, budget).run(1.0)
    assert min(seen[:10]) < 8 and seen[10:] == [8] * 10


def test_a_loss_that_is_not_finite_loses():
    task = SelectiveCopying(length=16)
    learner = Learner(task, build_model("linear", task, SMALL), 1e30, Budget(steps=60, batch=2))
    assert learner.run(1.0).loss == math.inf and learner.fit.step < 60


def test_accuracy_is_the_share_of_right_answers():
    task = SelectiveCopying(length=16)
    learner = Learner(task, build_model("linear", task, SMALL), 0.01, BUDGET)
    with torch.no_grad():
        learner.learning.model.head.weight.zero_()
        learner.learning.model.head.bias.copy_(torch.arange(8.0))
    assert accuracy(learner, 16, 400) == pytest.approx(1 / 8, abs=0.03)


@pytest.mark.parametrize(
    "wrong",
    [{"rates": ()}, {"trial": 0.0}, {"steps": 0}, {"minutes": -1.0}, {"whole": 2.0}, {"optimiser": "sgd"}],
)
def test_wrong_budgets(wrong):
    with pytest.raises(UserError):
        Budget(**wrong)


def test_costs_grow_as_they_should():
    """Linear attention: the same state and memory for every token; attention keeps every token."""
    task = TASKS["induction_heads"]()
    linear, attention = (
        [cost(name, task, SMALL, length, repeats=1) for length in (32, 128)]
        for name in ("linear", "attention")
    )
    assert linear[0].state == linear[1].state
    assert (
        attention[1].state - attention[0].state == 96 * 2 * SMALL.width * 4 or attention[1].state > 96 * 128
    )
    assert linear[1].memory < 2 * linear[0].memory
    assert all(one.seconds > 0 for one in linear + attention)


def mixers(**changes):
    kind = COMPARISONS["mixers"]
    small = {"width": 16, "depth": 1, "state": 8, "parameters": 30, "steps": 4, "batch": 4, "jobs": 1}
    return kind(kind.Settings(**small | {"tasks": ("selective_copying",), "mixers": ("linear",)} | changes))


def test_mixers_and_tasks_are_added(tmp_path):
    """What is there is not learnt again; a mixer that cannot do a task has a dash there."""
    said = []
    tasks = ("induction_heads", "byte_text")
    found = compare(mixers(tasks=tasks, mixers=("linear", "linformer")), tmp_path, say=said.append)
    assert len(said) == len(found) == 6 + 3
    more = mixers(tasks=tasks, mixers=("linear", "lru"))
    rows = compare(more, tmp_path, resume=True, say=said.append)
    assert rows[:9] == found and len(said) == 9 + 3 + 2
    comparison, again = load(tmp_path, COMPARISONS)
    lines = text(comparison, again).splitlines()
    assert len(lines) == 3 + 3 and len({line.count("|") for line in lines}) == 1
    assert "–" in lines[4] and lines[3].startswith("| linear |") and lines[5].startswith("| lru |")


def test_a_task_that_is_tested_far_beyond_its_length_has_two_columns():
    comparison = mixers()
    row = comparison.Row("parity", "linear", (64, 128, 256, 1024), (1.0, 0.9, 0.8, 0.7), 64, 0.5)
    (table,) = comparison.tables([row])
    assert table.head[2:4] == ["parity, T = 64", "parity, T = 256"] and table.lines[1][2:4] == [
        "100.0%",
        "80.0%",
    ]


def test_minutes_are_shared(tmp_path):
    """A budget in minutes is that of all learning, so more mixers would have another share."""
    asked = {"minutes": 0.002, "tasks": ("selective_copying",)}
    compare(mixers(**asked), tmp_path)
    with pytest.raises(UserError, match="minutes"):
        compare(mixers(**asked, mixers=("linear", "lru")), tmp_path, resume=True)
    with pytest.raises(UserError, match="more than 0"):
        compare(mixers(minutes=0.0))


def test_command(tmp_path, capsys):
    out = str(tmp_path / "out")
    words = ["compare", "mixers", "--tasks", "permuted_digits,selective_copying", "--steps", "2"]
    words += ["--width", "16", "--depth", "1", "--state", "8", "--jobs", "1", "-o", out, "--mixers"]
    assert main([*words, "linear"]) == 0
    assert main([*words, "linear,lru", "--resume"]) == 0
    assert "| lru |" in capsys.readouterr().out and "| lru |" in (tmp_path / "out" / "table.md").read_text()
    assert Image.open(tmp_path / "out" / "plot.png").size[0] > 800
    assert main([*words, "lru"]) == 2 and "holds a comparison already" in capsys.readouterr().err
    assert main([*words, "lru", "--steps", "3", "--resume"]) == 2 and "steps 3" in capsys.readouterr().err
    for wrong, known in (("--tasks", "selective_copying"), ("--mixers", "linear")):
        assert main([*words[:-1], wrong, known[:-1] + "x", "--overwrite"]) == 2
        assert f"did you mean {known}" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_find_the_same():
    one, two = (compare(mixers(mixers=("linear", "lru"), jobs=jobs)) for jobs in (1, 2))
    assert [row for row in one if row.steps] == [row for row in two if row.steps]


@pytest.mark.slow
def test_attention_recalls_where_it_should():
    task = TASKS["associative_recall"](length=32)
    learner = learn("attention", task, Size(), Budget(rates=(0.01,)))
    assert accuracy(learner, 32) > 0.97

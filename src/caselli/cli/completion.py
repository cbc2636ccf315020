"""`caselli completion SHELL`."""

from __future__ import annotations

import importlib
import keyword
from typing import Literal

from caselli.cli.command import Option, options_of


def command(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Prints a script that completes the commands and options of `caselli` in a shell.

    bash: caselli completion bash > ~/.local/share/bash-completion/completions/caselli.
    zsh: caselli completion zsh > a folder of $fpath, as _caselli.
    fish: caselli completion fish > ~/.config/fish/completions/caselli.fish.

    Arguments:
        shell: bash, zsh or fish.
    """
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]())


def options() -> dict[str, list[Option]]:
    """The options of every command."""
    from caselli.cli import COMMANDS

    found = {}
    for name in COMMANDS:
        module = importlib.import_module(f"caselli.cli.{name}" + "_" * keyword.iskeyword(name))
        made = getattr(module, "command", None)
        found[name] = [] if made is None else [o for o in options_of(made) if not o.positional]
    return found


def _bash() -> str:
    found = options()
    cases = [f"    {name}) words='{' '.join(o.flag for o in own)}' ;;" for name, own in found.items()]
    return "\n".join(
        [
            "_caselli() {",
            "  local word=${COMP_WORDS[COMP_CWORD]} words",
            "  case ${COMP_WORDS[1]} in",
            *cases,
            "  esac",
            f"  [ $COMP_CWORD -eq 1 ] && words='{' '.join(found)}'",
            '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
            "}",
            "complete -o default -F _caselli caselli",
        ]
    )


def _zsh() -> str:
    found = options()
    cases = []
    for name, own in found.items():
        flags = " ".join(f"'{o.flag}[{_plain(o.help, '[]:')}]{_zsh_value(o)}'" for o in own)
        cases.append(f"    {name}) _arguments {flags} '*:file:_files' ;;")
    return "\n".join(
        [
            "#compdef caselli",
            f"if (( CURRENT == 2 )); then compadd {' '.join(found)}; return; fi",
            "name=$words[2]; words=($words[1] ${words[3,-1]}); (( CURRENT-- ))",
            "case $name in",
            *cases,
            "esac",
        ]
    )


def _zsh_value(option: Option) -> str:
    """The words that may follow an option: its choices, else files; none behind a switch."""
    if option.kind is bool:
        return ""
    return f":{option.key}:" + (f"({' '.join(option.choices)})" if option.choices else "_files")


def _fish() -> str:
    from caselli.cli import COMMANDS

    lines = []
    for name, own in options().items():
        first = "complete -c caselli -n __fish_use_subcommand -f"
        lines.append(f"{first} -a {name} -d '{_plain(COMMANDS[name])}'")
        for option in own:
            of = f"complete -c caselli -n '__fish_seen_subcommand_from {name}'"
            value = "" if option.kind is bool else " -r"
            value = f" -x -a '{' '.join(option.choices)}'" if option.choices else value
            lines.append(f"{of} -l {option.flag.removeprefix('--')}{value} -d '{_plain(option.help)}'")
    return "\n".join(lines)


def _plain(words: str, without: str = "") -> str:
    """A line of help without what the shell would take for its own."""
    return "".join(letter for letter in words if letter not in without + "'\\`$")

"""`caselli push RUN USER/NAME`."""

from __future__ import annotations

from caselli.cli.export import exportable


def command(
    run: str,
    name: str,
    *,
    licence: str = "",
    pictures: str = "",
    private: bool = False,
) -> None:
    """Sends a run to a hub of models with a model card written from it; asks huggingface_hub for the login.

    Arguments:
        name: USER/NAME of the repository, made if need be.
        licence: licence for the model card, such as cc0-1.0.
        pictures: where the pictures came from, for the model card.
        private: a new repository is visible to its owner alone.
    """
    from caselli.interop import push

    print(push(exportable(run, name, licence, pictures), name, private=private))

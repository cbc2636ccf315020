"""`caselli studio [FOLDER]`."""

from __future__ import annotations


def command(
    folder: str = ".", *, host: str = "127.0.0.1", port: int | None = None, no_browser: bool = False
) -> None:
    """Shows the runs of a folder in a web page on this machine: train, sample, change codes, complete.

    Only this machine can reach it, by an address with a token; nothing leaves it, and it works offline.

    Arguments:
        folder: runs, or one run.
        host: address to listen on; 0.0.0.0 lets other machines in that have the whole address.
        port: port to listen on (a free one).
        no_browser: do not open a browser.
    """
    from caselli.studio import serve

    serve(folder, host, port, not no_browser)

"""A server that runs until it is interrupted."""

import secrets
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn
from platformdirs import user_data_path

from evovae.checkpoint import exclusively
from evovae.web.app import HERE, create_app
from evovae.web.limits import Limits

PATIENCE = 2  # seconds that open connections, such as those that follow a job, have when the server is ended


def default_folder() -> Path:
    """Where a user's data belongs; a new folder for temporary files if nothing can be kept there."""
    folder = user_data_path("evovae") / "web"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="evovae-"))
    return folder


def serve(folder: Path, limits: Limits, host: str, port: int, browser: bool, say: Callable[[str], object]) -> None:
    """Serve a folder at an address, port 0 for one that is free, until a signal to end; `say` is told where.

    Raises
    ------
    OSError
        If the address cannot be had, or the folder cannot be written to; BusyError if another server works in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    alone = exclusively(folder, "server", "use that one, or name another --folder")
    with alone, _listen(host, port) as listener:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"
        here = host in HERE
        token = "" if here else secrets.token_urlsafe(16)
        address += f"?token={token}" if token else ""
        app = create_app(folder, limits, hosts=HERE if here else ("*",), token=token)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=PATIENCE)
        say(f"the page is at {address}, files are kept in {folder}; Ctrl-C ends both")
        if not here:
            say("whoever has this address with its token can use this server and see what it holds")
        if browser:  # it has to wait, but not to come back: the socket takes connections already
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise OSError(f"port {port} of {host} cannot be used: {error}; name another --port") from error

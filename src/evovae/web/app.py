"""The server: its address and folder, routes and the static page, and who may talk to it."""

import secrets
import socket
import tempfile
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from platformdirs import user_data_path
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import evovae
from evovae.checkpoint import exclusively
from evovae.web import api, results
from evovae.web.jobs import Jobs
from evovae.web.limits import Limits
from evovae.web.site import Site
from evovae.web.uploads import Uploads

STATIC = Path(__file__).parent / "static"
# Nothing comes from elsewhere, nothing goes elsewhere, and no other page frames this one.
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "same-origin",
}
UPLOADS, MOST = "/api/uploads", 65536  # bytes of a request of any other kind
HERE = ("127.0.0.1", "localhost")
COOKIE = "evovae"
PATIENCE = 2  # seconds that open connections, such as those that follow a job, have when the server is ended


def create_app(folder: Path, limits: Limits, *, hosts: tuple[str, ...] = HERE, token: str = "") -> FastAPI:
    """The server of one folder, which keeps uploads, jobs and results in it.

    Parameters
    ----------
    folder
        Where everything is kept; made if it is not there.  Only one server may work in it.
    limits
        What is taken on.
    hosts
        Names under which the server may be addressed, "*" for all: that of a page elsewhere that is made to point here
        is none of them.
    token
        What a browser has to show once, in the address, before it may use the server; nothing if empty.
    """
    app = FastAPI(
        title="evovae",
        version=evovae.__version__,
        description="Restore single pictures, with nothing but the picture.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these pages load from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_working,
    )
    app.state.site = Site(limits, Uploads(folder / "uploads", limits), Jobs(folder / "jobs", limits))
    app.include_router(api.router)
    app.include_router(results.router)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_middleware(Guard, token=token)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*hosts])
    app.exception_handler(RequestValidationError)(_in_a_sentence)
    return app


@asynccontextmanager
async def _working(app: FastAPI) -> AsyncIterator[None]:
    site: Site = app.state.site
    site.purge()
    site.jobs.open()
    try:
        yield
    finally:
        await run_in_threadpool(site.jobs.close)


class Guard:
    """Refuses what a page from elsewhere sends and what is too much, and says what pages of ours may do."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        request = Request(scope)
        shown = request.query_params.get("token", "")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if self.token and self._is_token(shown):  # the browser shows it from now on
                    headers.append("Set-Cookie", f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/")
            await send(message)

        count = 0

        async def receive_bounded() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > MOST and scope["path"] != UPLOADS:  # which are counted while they are stored
                raise HTTPException(413, f"the request has more than {MOST:,} bytes, and needs far less")
            return message

        headers = Headers(scope=scope)
        origin = headers.get("origin")
        answer: ASGIApp = self.app
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            answer = JSONResponse({"detail": f"a page from {origin} may not use this server"}, 403)
        elif not (self._is_token(shown) or self._is_token(request.cookies.get(COOKIE, ""))):
            said = "open the address that the server printed, with its token, once in this browser"
            answer = JSONResponse({"detail": said}, 401)
        await answer(scope, receive_bounded, send_with_headers)

    def _is_token(self, shown: str) -> bool:
        return secrets.compare_digest(shown.encode(), self.token.encode())


async def _in_a_sentence(_: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request, as one sentence like all others."""
    assert isinstance(error, RequestValidationError)
    said = (f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in error.errors())
    return JSONResponse({"detail": "; ".join(said)}, 422)


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

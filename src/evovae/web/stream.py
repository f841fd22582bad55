"""Server-sent events: a job's event log as it is written, from the line on that a client has seen last."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool

from evovae.web.diary import Reader
from evovae.web.schemas import Job
from evovae.web.site import Site

LOOK = 0.2  # seconds between looks
SILENCE = 15.0  # seconds without an event, after which a comment shows that the connection is alive


async def follow(site: Site, name: str, after: int) -> AsyncIterator[str]:
    """Events until the job's end.

    A client that goes away ends this, and nothing else.
    """
    reader, shown, spoken = Reader(site.place(name), after), "", time.monotonic()
    while True:
        job, lines = await run_in_threadpool(_look, site, name, reader)  # its state first: no line comes after the end
        told = [f"id: {number}\nevent: {kind}\ndata: {text}\n\n" for number, kind, text in lines]
        state = json.dumps({"state": job.state, "ahead": job.ahead})
        if state != shown:
            told.append(f"event: state\ndata: {state}\n\n")
            shown = state
        if job.state.final:
            told.append(f"event: end\ndata: {job.model_dump_json()}\n\n")
        elif time.monotonic() - spoken > SILENCE:
            told.append(": still here\n\n")
        if told:
            spoken = time.monotonic()
            yield "".join(told)
        if job.state.final:
            return
        await asyncio.sleep(LOOK)


def _look(site: Site, name: str, reader: Reader) -> tuple[Job, list[tuple[int, str, str]]]:
    job = site.job(name)
    return job, list(reader.new())

"""Everything that a server works with, handed to its routes."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi import Path as InPath

from evovae.web.estimate import Clock
from evovae.web.jobs import Jobs
from evovae.web.limits import Limits
from evovae.web.names import ID, SUMMARY, made
from evovae.web.runner import Runner
from evovae.web.schemas import Job, Summary
from evovae.web.uploads import Uploads


@dataclass(frozen=True)
class Site:
    """A folder with uploads and jobs, what is done with them, and how much of it."""

    folder: Path
    limits: Limits
    uploads: Uploads
    jobs: Jobs
    runner: Runner
    clock: Clock

    @classmethod
    def of(cls, folder: Path, limits: Limits) -> "Site":
        """What is in a folder, which is made if it is not there."""
        (folder / "jobs").mkdir(parents=True, exist_ok=True)
        jobs = Jobs(folder / "jobs.sqlite")
        runner = Runner(folder / "jobs", jobs, limits)
        return cls(folder, limits, Uploads(folder / "uploads", limits), jobs, runner, Clock(folder))

    def place(self, name: str) -> Path:
        """The folder of a job."""
        return self.folder / "jobs" / name

    def job(self, name: str) -> Job:
        """A job with its place in the queue and what it found; 404 if there is none."""
        try:
            job = self.jobs.get(name)
        except KeyError as error:
            raise HTTPException(404, f"there is no job {name}; it may have been removed") from error
        return self.complete(job)

    def complete(self, job: Job) -> Job:
        """A job as the table has it, with its place in the queue and what it found."""
        path = self.place(job.id) / SUMMARY
        summary = Summary.model_validate_json(path.read_bytes()) if job.state.final and path.exists() else None
        return job.model_copy(update={"ahead": self.runner.ahead(job.id), "summary": summary})

    def remove(self, name: str) -> None:
        """Forget a job and all that came of it."""
        self.jobs.remove(name)
        shutil.rmtree(self.place(name), ignore_errors=True)

    def purge(self) -> None:
        """Remove uploads and jobs that are old."""
        self.uploads.purge()
        oldest = time.time() - self.limits.kept_jobs
        for job in self.jobs.all():
            if job.state.final and job.created < oldest:
                self.remove(job.id)

    def open(self) -> None:
        """Begin: what another server left unfinished has failed, and what is old goes."""
        self.jobs.mark_lost()
        self.purge()
        known = {job.id for job in self.jobs.all()}
        for place in made(self.folder / "jobs"):
            if place.name not in known:
                shutil.rmtree(place, ignore_errors=True)
        self.runner.start()
        self.clock.start()

    def close(self) -> None:
        """End all processes, with the best so far where that is quick."""
        self.clock.close()
        self.runner.close()


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


Id = Annotated[str, InPath(pattern=ID, description="As the server gave it.")]
TheSite = Annotated[Site, Depends(_site)]


def _job(site: TheSite, job: Id) -> Job:
    return site.job(job)


TheJob = Annotated[Job, Depends(_job)]


def _finished(job: TheJob) -> Job:
    if job.summary is None:
        raise HTTPException(409, f"the job has no result: {job.message or f'it is {job.state}'}")
    return job


Finished = Annotated[Job, Depends(_finished)]

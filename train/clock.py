"""How fast a run is, and how long it has still to go."""

import math
import time


class Clock:
    """Speed of the steps between `start` and `stop`, and the time that is left with all else."""

    def __init__(self, batch_size: int, total_steps: int):
        self._batch_size, self._total_steps = batch_size, total_steps
        self._born = time.perf_counter()
        self._first: tuple[int, float] | None = None  # step and time of the first start
        self._mark: tuple[int, float] | None = None  # ... up to which is counted
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0

    @property
    def age(self) -> float:
        return time.perf_counter() - self._born

    @property
    def has_run(self) -> bool:
        return self._first is not None

    @property
    def is_running(self) -> bool:
        return self._mark is not None

    @property
    def images_per_second(self) -> float:
        return self._steps * self._batch_size / self._seconds if self._steps else math.nan

    def start(self, step: int) -> None:
        """Counts from here, where `step` has just been computed."""
        self._mark = (step, time.perf_counter())
        self._first = self._first or self._mark

    def lap(self, step: int) -> None:
        """Counts up to here, where `step` has just been computed; if running."""
        if self._mark is None:
            return
        now = time.perf_counter()
        self._steps += step - self._mark[0]
        self._seconds += now - self._mark[1]
        self._mark = (step, now)

    def waited(self, seconds: float) -> None:
        """Notes a part of the time that is counted in which nothing could be computed."""
        if self.is_running:
            self._waited += seconds

    def stop(self) -> None:
        self._mark = None

    def facts(self) -> dict[str, float]:
        """{"images_per_second", "waiting", the share of time in which data were waited for}."""
        if not self._steps:
            return {}
        waiting = min(self._waited / self._seconds, 1.0)
        return {"images_per_second": self.images_per_second, "waiting": waiting}

    def in_words(self, step: int) -> str:
        """`, 5,310 images/s, 3 % waiting for data, 0:01:10 left`."""
        words = ""
        if facts := self.facts():
            words += f", {facts['images_per_second']:,.0f} images/s"
            if facts["waiting"] >= 0.01:
                words += f", {100 * facts['waiting']:.0f} % of the time waiting for data"
        if self._first and step > self._first[0]:
            per_step = (time.perf_counter() - self._first[1]) / (step - self._first[0])
            left = round(per_step * (self._total_steps - step))
            words += f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        return words

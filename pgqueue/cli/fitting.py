"""Whether the arguments of jobs still fit their tasks, as the code has them now."""

from pgqueue.errors import UndecodablePayload, UnknownTask
from pgqueue.tasks import Tasks

EXAMPLES = 5


class Fitting:
    """Judges jobs by their arguments as a worker would, and keeps some of what is wrong."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self.problems: list[str] = []
        """The first few, each a sentence with its job's id."""

    def __call__(self, job_id: int, task: str, args: str) -> bool:
        try:
            self._tasks[task].decode(args, job_id=job_id, task=task)
        except (UndecodablePayload, UnknownTask) as error:
            if len(self.problems) < EXAMPLES:
                self.problems.append(f"job {job_id}: {error}")
            return False
        return True

"""Five handlers: async, in a thread, in a process of its own, an object, and one made per run."""

import hashlib

from pydantic import BaseModel

from perdure import SyncTaskContext, TaskContext, TaskKind, TaskService


class Picture(BaseModel):
    path: str


class Digest(BaseModel):
    path: str
    sha256: str


# A value: producers import it without any handler.
picture_digest = TaskKind("picture.digest", Picture, result=Digest)

builder = TaskService.builder().configure_execution(max_retry_count=3)


@builder.task(picture_digest, queue="pictures", priority=2)
async def digest(context: TaskContext[Picture, None]) -> Digest:
    path = context.metadata.path
    return Digest(path=path, sha256=hashlib.sha256(path.encode()).hexdigest())


@builder.task("picture.shrink")  # a name: the annotations say the types
def shrink(context: SyncTaskContext[Picture, None]) -> str:
    context.logger.info("shrinking", path=context.metadata.path)
    return f"{context.metadata.path}.small"


@builder.task("picture.render", isolated=True, timeout=60)  # killed after 60 s
def render(context: SyncTaskContext[Picture, None]) -> str:
    return f"{context.metadata.path}.rendered"


class Uploader:
    def __init__(self, bucket: str) -> None:
        self.bucket = bucket

    async def execute(self, context: TaskContext[Picture, None]) -> str:
        return f"{self.bucket}/{context.metadata.path}"


def make_uploader() -> Uploader:
    return Uploader("one-for-each-run")


builder.add_task(lambda task: task.named("picture.upload").handled_by(Uploader("shared")))
builder.add_task(lambda task: task.named("picture.copy").made_by(make_uploader))

service = builder.build()

"""Reports that are built every night, a clean-up every ten minutes: schedules in code."""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from perdure import Cron, Every, Once, TaskContext, TaskKind, TaskService


class Report(BaseModel):
    region: str


report_build = TaskKind("report.build", Report, result=str)
builder = TaskService.builder()


@builder.schedule(Every(timedelta(minutes=10)), key="cleanup", misfire_grace=60)
@builder.task("uploads.clean")
async def clean(context: TaskContext[None, None]) -> None:
    context.logger.info("cleaned", key=context.schedule_key)


@builder.task(report_build)
async def build(context: TaskContext[Report, None]) -> str:
    day = context.fire_at or datetime.now(UTC)  # None: somebody has run it by hand
    return f"{context.metadata.region} of {day.date()}"


builder.add_schedule(
    "reports.north",
    report_build,
    Cron("30 2 * * mon-fri", "Europe/Berlin"),
    Report(region="north"),
    jitter=timedelta(minutes=5),
    expires_after=timedelta(hours=6),
    queue="reports",
)
builder.add_schedule(
    "reports.audit",
    report_build,
    Once(datetime(2030, 1, 1, tzinfo=UTC)),
    Report(region="all"),
)

service = builder.build()

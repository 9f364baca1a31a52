-- What operators, producers and programs did to tasks, queues, schedules and constraints, signals that came too
-- late, and ends without a run that a retry has undone: those have an empty actor.
create table perdure.audit (
    id bigserial primary key,
    at timestamptz not null default clock_timestamp(),
    actor text not null default session_user,
    action text collate "C" not null,
    task_id bigint,
    details jsonb
);
create index audit_task on perdure.audit (task_id, id) where task_id is not null;

-- What others want to tell a task, or whoever will wait for a key. Its writer locks nothing.
-- kind: cancel, replaced, proceed (body: patch or execution_metadata, run_at), follower.
create table perdure.mail (
    id bigserial primary key,
    task_id bigint,
    wait_key text collate "C",
    kind text collate "C" not null,
    body jsonb,
    keep_until timestamptz,
    posted_at timestamptz not null default clock_timestamp(),
    posted_by text not null default session_user
);
create index mail_task on perdure.mail (task_id, id) where task_id is not null;
create index mail_key on perdure.mail (wait_key, id) where wait_key is not null;
